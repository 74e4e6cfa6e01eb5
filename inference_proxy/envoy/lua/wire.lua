-- What is read and written of the V2 messages in flight, without parsing them: the counterpart of wire.py.
--
-- A message comes in chunks of any size. Its top-level fields are walked by tag and length; what is not needed is
-- skipped without being copied. Whatever is not understood is given up, and the Python proxy takes the request.

local bit = require("bit")

local wire = {}

local NAME, VERSION, PARAMETERS, INPUTS = 0x0A, 0x12, 0x22, 0x2A
local SHAPE_PACKED, SHAPE_SINGLE = 0x1A, 0x18
local KEY = 0x0A
local FILLER = 0x7A -- Field 15, which no version of the message has: parsers pass over it.
local LONGEST_HELD = 65536
local LARGEST_LENGTH = 2 ^ 31 - 1
local MAX_INFERENCES = 2 ^ 32 - 1

local byte, char, sub = string.byte, string.char, string.sub

-- The number at a position and the position after it; nil where the bytes end, false where it is no number.
local function varint(data, position)
  local value = byte(data, position)
  if value == nil then return nil end
  if value < 0x80 then return value, position + 1 end
  value = value - 0x80
  local scale = 128
  for at = position + 1, position + 9 do
    local part = byte(data, at)
    if part == nil then return nil end
    if part < 0x80 then return value + part * scale, at + 1 end
    value = value + (part - 0x80) * scale
    scale = scale * 128
  end
  return false
end

-- A number as protobuf writes it; whole and below 2^53.
local function encode_varint(value)
  if value < 0x80 then return char(value) end
  local parts = {}
  while value >= 0x80 do
    parts[#parts + 1] = char(value % 0x80 + 0x80)
    value = math.floor(value / 0x80)
  end
  parts[#parts + 1] = char(value)
  return table.concat(parts)
end

wire.encode_varint = encode_varint

local function with_length(data) return encode_varint(#data) .. data end

-- The five bytes before a message that is not compressed.
function wire.prefix(length)
  return char(
    0,
    bit.band(bit.rshift(length, 24), 255),
    bit.band(bit.rshift(length, 16), 255),
    bit.band(bit.rshift(length, 8), 255),
    bit.band(length, 255)
  )
end

-- The length that a prefix says; nil for a compressed message.
function wire.length_of(data)
  local compressed, a, b, c, d = byte(data, 1, 5)
  if compressed ~= 0 then return nil end
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- The first number of a tensor's shape between two positions, one without any, and nil where more bytes are needed.
function wire.first_dimension(data, position, stop, whole)
  while position < stop do
    local tag, value = varint(data, position)
    if not tag then return whole and 1 or nil end
    local kind = tag % 8
    local number, after = varint(data, value)
    if kind == 5 then
      position = value + 4
    elseif kind == 1 then
      position = value + 8
    elseif kind ~= 0 and kind ~= 2 then
      return 1 -- Triton refuses it, and what it refuses is not charged.
    elseif not number then
      return (whole or number == false) and 1 or nil
    elseif tag == SHAPE_SINGLE then
      return wire.count(number)
    elseif kind == 0 then
      position = after
    else
      if tag == SHAPE_PACKED and number > 0 then
        local first = varint(data, after)
        if not first then return (whole or first == false) and 1 or nil end
        return wire.count(first)
      end
      position = after + number
    end
  end
  return whole and 1 or nil
end

-- A dimension as a number of inferences: what is negative as an int64 is none.
function wire.count(dimension)
  if dimension >= 2 ^ 63 then return 0 end
  return math.min(dimension, MAX_INFERENCES)
end

-- Whether a parameter concerns who serves: a requirement of the client, or a sequence, which stays on one variant.
local function steers(entry)
  local position = 1
  while position <= #entry do
    local tag, value = varint(entry, position)
    if not tag or tag % 8 ~= 2 then return true end
    local length, start = varint(entry, value)
    if not length or start + length > #entry + 1 then return true end
    if tag == KEY then
      local key = sub(entry, start, start + length - 1)
      if sub(key, 1, 7) == "carbon_" or sub(key, 1, 9) == "sequence_" then return true end
    end
    position = start + length
  end
  return false
end

-- Makes a reader ready for a message of so many bytes.
function wire.reset(reader, length)
  reader.length = length
  reader.held = "" -- Bytes that were fed and are not consumed.
  reader.consumed = 0 -- Bytes of the message before the held ones.
  reader.skip = 0 -- Bytes after the held ones that nobody needs.
  reader.cut_count = 0 -- How many numbers there are in `cuts`.
  reader.name, reader.version, reader.inferences = nil, nil, nil
  reader.inputs = false
  reader.steers = false -- A parameter concerns who serves it.
  reader.given_up = false
  reader.malformed = false -- Given up because it is no protobuf.
  reader.known = false -- All that is needed was read, and what follows is one field to the end.
  return reader
end

-- A reader of a message of so many bytes. `cuts` is where the name's and version's fields lie: pairs of offset and end.
function wire.reader(length) return wire.reset({ cuts = {} }, length) end

local function give_up(reader)
  reader.given_up, reader.held = true, ""
end

local function reject(reader)
  reader.malformed = true
  give_up(reader)
end

-- Reads the field at a position; the position after it, or nil where more bytes are needed or it is given up.
local function read_field(reader, data, position)
  local tag, value = varint(data, position)
  if not tag then
    if tag == false then reject(reader) end
    return nil
  end
  local kind = tag % 8
  if tag < 8 or tag >= 2 ^ 32 then reject(reader) return nil end
  if kind == 0 then
    local number, after = varint(data, value)
    if number == false then reject(reader) end
    return number and after
  elseif kind == 5 then
    return value + 4
  elseif kind == 1 then
    return value + 8
  elseif kind ~= 2 then
    if kind == 3 then give_up(reader) else reject(reader) end -- A group is valid, and nobody writes one.
    return nil
  end
  local length, start = varint(data, value)
  if not length then
    if length == false then reject(reader) end
    return nil
  end
  local after = start + length
  if length > LARGEST_LENGTH or reader.consumed + after - 1 > reader.length then
    reject(reader)
    return nil
  end
  local whole = after <= #data + 1
  if tag == INPUTS and not reader.inputs then
    local found = wire.first_dimension(data, start, math.min(after, #data + 1), whole)
    if not found then
      if #data - position > LONGEST_HELD then give_up(reader) end
      return nil
    end
    reader.inputs, reader.inferences = true, found
  elseif tag == NAME or tag == VERSION or tag == PARAMETERS then
    if not whole then
      if length > LONGEST_HELD then give_up(reader) end
      return nil
    end
    local content = sub(data, start, after - 1)
    if tag == PARAMETERS then
      if steers(content) then reader.steers = true end
    else
      local cuts, count = reader.cuts, reader.cut_count
      cuts[count + 1], cuts[count + 2] = reader.consumed + position - 1, reader.consumed + after - 1
      reader.cut_count = count + 2
      if tag == NAME then reader.name = content else reader.version = content end
    end
  end
  return after
end

-- Takes bytes of the message; nothing after the message's end may be fed.
function wire.feed(reader, bytes)
  if reader.given_up then return end
  local data = reader.held == "" and bytes or reader.held .. bytes
  if reader.skip > 0 then
    if reader.skip >= #data then
      wire.skip(reader, #data)
      return
    end
    data = sub(data, reader.skip + 1)
    reader.consumed, reader.skip = reader.consumed + reader.skip, 0
  end
  local position, count = 1, #data
  while position <= count do
    local after = read_field(reader, data, position)
    if reader.given_up then return end
    if not after then break end
    position = after
  end
  reader.consumed = reader.consumed + math.min(position, count + 1) - 1
  reader.skip = math.max(position - count - 1, 0)
  reader.held = position <= count and sub(data, position) or ""
  if reader.held == "" then
    local ends = reader.consumed + reader.skip
    if ends == reader.length then reader.known = true elseif ends > reader.length then reject(reader) end
  end
end

-- Takes bytes that nobody needs, without looking at them; no more than `reader.skip`.
function wire.skip(reader, count)
  reader.consumed, reader.skip = reader.consumed + count, reader.skip - count
end

-- The fields that say which model is meant. A version is written where the client named one or the target has one.
function wire.target(model, version, had_version)
  local fields = char(NAME) .. with_length(model)
  if had_version or version ~= "" then fields = fields .. char(VERSION) .. with_length(version) end
  return fields
end

-- The first bytes of a framed message, with other fields for the name and version that it had.
function wire.replace(reader, framed, target)
  if reader.cut_count == 2 and reader.cuts[1] == 0 then
    local cut = reader.cuts[2]
    return wire.prefix(reader.length + #target - cut) .. target .. sub(framed, 6 + cut)
  end
  local pieces, at, removed = { "", target }, 0, 0
  for index = 1, reader.cut_count, 2 do
    local from, to = reader.cuts[index], reader.cuts[index + 1]
    if from > at then pieces[#pieces + 1] = sub(framed, 6 + at, 5 + from) end
    at, removed = to, removed + to - from
  end
  pieces[#pieces + 1] = sub(framed, 6 + at)
  pieces[1] = wire.prefix(reader.length + #target - removed)
  return table.concat(pieces)
end

-- Exactly so many bytes that say nothing; two is the least.
function wire.filler(size)
  if size == 0 then return "" end
  if size < 130 then return char(FILLER, size - 2) .. string.rep("\0", size - 2) end
  local content = size - 4
  return char(FILLER, content % 128 + 128, math.floor(content / 128) % 128 + 128, math.floor(content / 16384))
    .. string.rep("\0", content)
end

-- Room to keep at a message's end when its length goes out before the target is known.
function wire.room(longest_target) return longest_target + 2 end

-- The end of a message whose length had room added: of two names the last counts.
function wire.ending(room, target) return wire.filler(room - #target) .. target end

-- The end of a message that goes to the proxy as it is. It says nothing; and what was malformed must not become whole by
-- it, so then the frame is left a byte short, which is refused as well.
function wire.blank(room, reader)
  local filler = wire.filler(room)
  local whole = reader.known or (reader.given_up and not reader.malformed)
  return whole and filler or sub(filler, 1, -2)
end

-- One int64 or string parameter of a response.
local function parameter(key, value)
  local content
  if type(value) == "number" then
    content = "\16" .. encode_varint(value)
  else
    content = "\26" .. with_length(value)
  end
  local entry = "\10" .. with_length(key) .. "\18" .. with_length(content)
  return "\34" .. with_length(entry)
end

-- Pairs of name and value as the bytes of a ModelInferResponse's parameters.
function wire.parameters(pairs_of_receipt)
  local parts = {}
  for index = 1, #pairs_of_receipt, 2 do
    parts[#parts + 1] = parameter(pairs_of_receipt[index], pairs_of_receipt[index + 1])
  end
  return table.concat(parts)
end

return wire
