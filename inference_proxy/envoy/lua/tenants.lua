-- Whose request it is: the counterpart of tenants.py, bounded for each worker.

local tenants = {}

local OTHER, LONGEST = "other", 128

-- `known` is this worker's own table of names.
function tenants.of(known, headers, key, at_most)
  if not key or key == "" then return "" end
  local name = headers:getAtIndex(key, 0) -- `get` joins what was said twice.
  if not name or name == "" then return "" end
  name = name:sub(1, LONGEST):gsub("[^\32-\126]", "?")
  if known[name] then return name end
  if known.count >= at_most then return OTHER end
  known[name], known.count = true, known.count + 1
  return name
end

-- None is known yet. A tenant called `count` is known from the start, which costs nothing.
function tenants.none() return { count = 0 } end

return tenants
