-- What the proxy has told this worker: which names there are, which variants serve them, and the intervals' intensities.

local wire = require("tradewind.wire")

local routing = {}

-- How long an answer may take and still be charged to the lane that its request was sent by; without it, it is withheld.
local SUPERSEDED_KEPT_US, SUPERSEDED_KEPT = 600 * 1000000, 500
local FIGURES = { "sizes", "decided", "smallest", "largest" }

-- What a worker knows; nothing yet.
function routing.state()
  return { revision = "", table = nil, lanes = {}, former = {}, credit = {}, figures = setmetatable({}, { __mode = "v" }) }
end

-- What a lane remembers of its requests: all of it can be made again.
local function forget(lane)
  lane.keys, lane.segment = {}, -1
  lane.receipts, lane.receipt_count = {}, 0
  lane.marks = {}
end

-- Tables of figures are the same from push to push, and a superseded lane should weigh little: each is held once.
local function shared(state, sizes)
  local words = {}
  for index, size in ipairs(sizes) do words[index] = string.format("%.17g:%.17g", size.batch, size.energy_mj) end
  local key = table.concat(words, " ")
  local known = state.figures[key]
  if known then return known end
  state.figures[key] = sizes
  return sizes
end

local function prepare(state, lane)
  forget(lane)
  for _, field in ipairs(FIGURES) do lane[field] = lane[field] and shared(state, lane[field]) end
  lane.printable = lane.printable or {}
  lane.target = wire.target(lane.model, lane.model_version, false)
  lane.target_with_version = wire.target(lane.model, lane.model_version, true)
end

-- What may still be answered on a lane of a superseded table needs its figures; nothing is asked on it any more.
local function retire(state, now_us)
  local ids = {}
  for id, lane in pairs(state.table.lanes) do
    forget(lane)
    lane.target, lane.target_with_version = nil, nil
    ids[#ids + 1] = id
  end
  state.former[#state.former + 1] = { ids = ids, until_us = now_us + SUPERSEDED_KEPT_US }
  while state.former[1] and (state.former[1].until_us < now_us or #state.former > SUPERSEDED_KEPT) do
    for _, id in ipairs(table.remove(state.former, 1).ids) do state.lanes[id] = nil end
  end
end

-- Takes a table that was pushed. Requests in flight keep the lanes of the table that they began under.
function routing.take(state, revision, told, now_us)
  if state.table then retire(state, now_us) end
  told.intervals = told.intervals or {}
  told.names = told.names or {}
  told.lanes = told.lanes or {}
  for id, lane in pairs(told.lanes) do
    prepare(state, lane)
    state.lanes[id] = lane
  end
  state.revision, state.table = revision, told
end

-- The lane of the next request for a name; nil for a name that is not known. Low discrepancy, as in mixes.py.
function routing.lane(state, name)
  local way = state.table.names[name]
  if not way then return nil end
  local shares = way.shares
  if #shares == 1 then return state.table.lanes[shares[1].lane], way end
  local credit = state.credit[name]
  if not credit then
    credit = {}
    state.credit[name] = credit
  end
  if way.credited ~= true then
    -- A variant that left the mix cannot serve its credit any more, nor owe any.
    local kept = {}
    for _, share in ipairs(shares) do kept[share.variant] = credit[share.variant] or 0 end
    credit = kept
    state.credit[name] = credit
    way.credited = true
  end
  local chosen, most = nil, -math.huge
  for _, share in ipairs(shares) do
    local owed = credit[share.variant] + share.weight
    credit[share.variant] = owed
    if owed > most then chosen, most = share, owed end
  end
  credit[chosen.variant] = most - 1
  return state.table.lanes[chosen.lane], way
end

-- The interval that holds; nil where none is known.
function routing.interval(told, now_us)
  local last = told.last
  if last and last.from_us <= now_us and now_us < last.to_us then return last end
  for _, interval in ipairs(told.intervals) do
    if interval.from_us <= now_us and now_us < interval.to_us then
      told.last = interval
      return interval
    end
  end
  return nil
end

return routing
