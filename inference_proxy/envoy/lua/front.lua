-- The hot path in Envoy: ModelInfer of a known name goes straight to Triton, recorded and with its receipt.
--
-- Whatever this does not understand it leaves alone: the route without a mark leads to the Python proxy.

local wire = require("tradewind.wire")
local receipts = require("tradewind.receipts")
local routing = require("tradewind.table")
local spool = require("tradewind.spool")
local tenants = require("tradewind.tenants")
local access = require("tradewind.access")

local NAMESPACE = "tradewind"
local FRESH_US = 5000
local MARKS_KEPT = 1024
local UNAVAILABLE, EXHAUSTED = "14", "8"
local UNRECORDED = "the proxy's accounts cannot be written: free its spool's disk"

local front = {
  state = routing.state(), looked_us = 0, tenants = tenants.none(), writer = nil, ways = {}, way_count = 0,
}
local scratch = wire.reader(0)

-- The table in force. Envoy copies a route's metadata each time that it is read, so the route has the revision alone,
-- the table is the virtual host's, and neither is read again within a few milliseconds.
local function current(handle)
  local now_us = spool.now_us()
  if now_us - front.looked_us > FRESH_US or now_us < front.looked_us then
    front.looked_us = now_us
    local revision = handle:metadata():get("revision")
    if revision and revision ~= front.state.revision then
      routing.take(front.state, revision, handle:virtualHost():metadata():get("table"), now_us)
      -- Marks have the lanes of the table in them; those of the former one are read again if they still come.
      front.ways, front.way_count = {}, 0
    end
  end
  return front.state.table
end

-- Marks the request for a lane: the route by the cluster's name, what is charged by the rest.
local function mark(handle, lane, inferences, tenant)
  local batch = lane.batches and inferences or 1
  local way = lane.marks[batch]
  if not way or tenant ~= "" then
    way = lane.cluster .. "|" .. lane.id .. "|" .. string.format("%.0f", batch) .. "|" .. tenant
    if tenant == "" and batch <= MARKS_KEPT then lane.marks[batch] = way end
  end
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, "way", way)
  handle:clearRouteCache()
end

-- The lane and target of a request that was read; nil where the Python proxy has to see it.
local function choose(reader)
  if reader.given_up or reader.steers or not reader.known or not reader.name then return nil end
  local way = front.state.table.names[reader.name]
  if not way then return nil end
  local version = reader.version
  if way.renamed and version and version ~= "" and version ~= way.version then return nil end
  local lane = routing.lane(front.state, reader.name)
  if not way.renamed then return lane, nil end
  return lane, version and version ~= "" and lane.target_with_version or lane.target
end

-- The bytes of a chunk that belong to the message, fed to the reader without a copy where nobody needs them.
local function feed(reader, chunk, size)
  if reader.given_up then return end
  if reader.skip >= size then
    wire.skip(reader, size)
    if reader.consumed + reader.skip == reader.length then reader.known = true end
  else
    wire.feed(reader, chunk:getBytes(0, size))
  end
end

-- A message in several chunks, not all of it known from the first: its length has room added, and the target comes last.
local function request_in_chunks(handle, chunks, reader, room, seen, tenant)
  for chunk in chunks do
    local size = chunk:length()
    local own = math.min(size, reader.length - seen)
    if size > 0 and seen < reader.length then
      feed(reader, chunk, own)
      seen = seen + own
      if seen == reader.length then
        local lane, target = nil, nil
        if own == size then lane, target = choose(reader) end
        local ending = lane and wire.ending(room, target or "") or wire.blank(room, reader)
        local bytes = chunk:getBytes(0, size)
        chunk:setBytes(bytes:sub(1, own) .. ending .. bytes:sub(own + 1))
        if lane then mark(handle, lane, reader.inferences or 1, tenant) end
        return
      end
    end
  end
end

function front.on_request(handle)
  local told = current(handle)
  if not told then return end
  local refusal = told.tokens and access.refusal(told.tokens, handle:headers())
  if refusal then return access.refuse(handle, refusal) end
  local tenant = told.tenant_key and tenants.of(front.tenants, handle:headers(), told.tenant_key, told.tenants) or ""
  local chunks, held = handle:bodyChunks(), ""
  for chunk in chunks do
    local size = chunk:length()
    if size > 0 then
      local data = chunk:getBytes(0, size)
      if held ~= "" then data = held .. data end
      if #data < 5 then
        held = data
        chunk:setBytes("")
      else
        local length = wire.length_of(data)
        if not length or #data > length + 5 then
          if held ~= "" then chunk:setBytes(data) end
          return
        end
        local reader = wire.reset(scratch, length)
        wire.feed(reader, data:sub(6))
        if reader.known or reader.given_up then
          local lane, target = choose(reader)
          if target then
            chunk:setBytes(wire.replace(reader, data, target))
          elseif held ~= "" then
            chunk:setBytes(data)
          end
          if lane then mark(handle, lane, reader.inferences or 1, tenant) end
          return
        end
        if #data == length + 5 then
          if held ~= "" then chunk:setBytes(data) end
          return
        end
        -- Other requests are read while this one waits for more.
        scratch = wire.reader(0)
        local room = wire.room(told.longest_target)
        chunk:setBytes(wire.prefix(length + room) .. data:sub(6))
        return request_in_chunks(handle, chunks, reader, room, #data - 5, tenant)
      end
    end
  end
end

-- What a mark says; the same marks come again and again.
local function read_way(way)
  local known = front.ways[way]
  if known then return known end
  local id, batch, tenant = way:match("^[^|]*|([^|]*)|([^|]*)|(.*)$")
  if front.way_count >= 4096 then front.ways, front.way_count = {}, 0 end
  known = { id = id, inferences = tonumber(batch), tenant = tenant }
  front.ways[way], front.way_count = known, front.way_count + 1
  return known
end

-- Puts the receipt before the first field of an answer that is not compressed; order means nothing to protobuf.
local function write_receipt(handle, parameters)
  local held = ""
  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    if size > 0 then
      local data = held .. chunk:getBytes(0, size)
      if #data >= 5 then
        local length = wire.length_of(data)
        if length then
          chunk:setBytes(wire.prefix(length + #parameters) .. parameters .. data:sub(6))
        elseif held ~= "" then
          chunk:setBytes(data)
        end
        return
      end
      held = data
      chunk:setBytes("")
    end
  end
end

-- Withholds an answer whose record the disk did not take.
local function refuse(trailers)
  trailers:replace("grpc-status", UNAVAILABLE)
  trailers:replace("grpc-message", UNRECORDED)
end

-- An answer without a message is an error. Envoy calls its own limit UNAVAILABLE; for clients it is another one.
local function say_exhausted(handle)
  local told = front.state.table
  if not told or not told.too_much then return end
  local headers = handle:headers()
  if headers:get("grpc-message") == told.too_much then headers:replace("grpc-status", EXHAUSTED) end
end

function front.on_response(handle)
  local own = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  if not own then return end
  local way = read_way(own.way)
  local lane = front.state.lanes[way.id]
  -- Of the table only what outlives it is asked here: the interval of now, and how to record.
  local told, receipt, interval = front.state.table, nil, nil
  local now_us = spool.now_us()
  if lane then
    interval = routing.interval(told, now_us)
    receipt = receipts.of(lane, interval, way.inferences, now_us)
    if told.receipts then write_receipt(handle, receipt.parameters) end
  end
  local trailers = handle:trailers()
  if not trailers then return say_exhausted(handle) end
  if trailers:get("grpc-status") ~= "0" then return end
  if not lane then return refuse(trailers) end
  if not front.writer then front.writer = spool.writer(told.spool, told.segment_bytes) end
  if not spool.record(front.writer, lane, interval, way.tenant, now_us, receipt) then return refuse(trailers) end
  if told.receipts then
    local metadata = receipt.metadata
    for index = 1, #metadata, 2 do trailers:add(metadata[index], metadata[index + 1]) end
  end
end

return front
