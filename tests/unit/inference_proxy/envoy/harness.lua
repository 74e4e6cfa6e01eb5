-- Stands where Envoy stands: calls the script's functions with a handle, chunk by chunk, as the Lua filter does.

local harness = {}

local function getter(values)
  return {
    get = function(_, key) return values[key] end,
    getAtIndex = function(_, key, index) return index == 0 and values[key] or nil end,
    getNumValues = function(_, key) return values[key] and 1 or 0 end,
    add = function(_, key, value)
      assert(values[key] == nil, key)
      values[key] = value
    end,
    replace = function(_, key, value) values[key] = value end,
  }
end

local function new_chunk(bytes)
  return {
    bytes = bytes,
    length = function(self) return #self.bytes end,
    getBytes = function(self, index, size)
      assert(index >= 0 and size >= 0 and index + size <= #self.bytes, "out of range")
      return self.bytes:sub(index + 1, index + size)
    end,
    setBytes = function(self, value) self.bytes = value end,
  }
end

local function new_handle(metadata, headers, dynamic, trailers)
  return {
    cleared = 0,
    metadata = function() return getter(metadata) end,
    virtualHost = function() return { metadata = function() return getter(metadata) end } end,
    headers = function() return getter(headers) end,
    bodyChunks = function() return function() return coroutine.yield("chunk") end end,
    trailers = function() return coroutine.yield("trailers") and trailers and getter(trailers) or nil end,
    clearRouteCache = function(self) self.cleared = self.cleared + 1 end,
    streamInfo = function()
      return {
        dynamicMetadata = function()
          return {
            get = function(_, space) return dynamic[space] end,
            set = function(_, space, key, value)
              dynamic[space] = dynamic[space] or {}
              dynamic[space][key] = value
            end,
          }
        end,
      }
    end,
  }
end

-- Runs a function on a body in chunks and on trailers; the chunks as they go on, what was marked, and the trailers.
function harness.run(entry, metadata, headers, body, dynamic, trailers)
  local handle = new_handle(metadata, headers, dynamic, trailers)
  local running = coroutine.create(entry)
  local function resume(...)
    local fine, wants = coroutine.resume(running, ...)
    assert(fine, wants)
    return wants
  end
  local wants, passed = resume(handle), {}
  for _, bytes in ipairs(body) do
    local chunk = new_chunk(bytes)
    if coroutine.status(running) ~= "dead" and wants == "chunk" then wants = resume(chunk) end
    passed[#passed + 1] = chunk.bytes
  end
  if coroutine.status(running) ~= "dead" and wants == "chunk" then wants = resume(nil) end
  if coroutine.status(running) ~= "dead" then resume(trailers ~= nil) end
  assert(coroutine.status(running) == "dead")
  return table.concat(passed), dynamic.tradewind and dynamic.tradewind.way, handle.cleared
end

return harness
