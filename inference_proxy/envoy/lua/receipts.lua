-- What one request cost and what its answer says of it: the counterpart of receipts.py and of the catalogue's figures.

local wire = require("tradewind.wire")

local receipts = {}

local KEPT = 256

-- To the nearest whole number, halves to the even one, as Python does it.
function receipts.round(value)
  local floor = math.floor(value)
  local rest = value - floor
  if rest > 0.5 or (rest == 0.5 and floor % 2 == 1) then return floor + 1 end
  return floor
end

-- Energy in µJ of a request with so many inferences: the nearest profiled size counts, the smaller of two.
-- `sizes` are tables of `batch` and `energy_mj` in order of batch.
function receipts.energy_uj(sizes, inferences)
  local nearest, distance = nil, math.huge
  for _, size in ipairs(sizes) do
    local away = math.abs(size.batch - inferences)
    if away < distance then nearest, distance = size, away end
  end
  return receipts.round(nearest.energy_mj * inferences * 1000)
end

local function text_of(value)
  return type(value) == "number" and string.format("%.0f", value) or value
end

local function write(lane, interval, inferences, now_us)
  local energy = receipts.energy_uj(lane.sizes, inferences)
  local receipt = {
    "carbon_requested_model", lane.requested, "carbon_variant", lane.variant, "carbon_zone", lane.zone,
    "carbon_energy_uj", energy,
  }
  local function say(key, value)
    receipt[#receipt + 1] = key
    receipt[#receipt + 1] = value
  end
  if lane.energy_source then say("carbon_energy_source", lane.energy_source) end
  local good_until_us = math.huge
  if lane.decision then
    local age_s = math.floor(math.max(now_us - lane.decided_us, 0) / 1000000)
    good_until_us = lane.decided_us + (age_s + 1) * 1000000
    say("carbon_decision", lane.decision)
    say("carbon_decision_age_s", age_s)
  end
  if interval then
    say("carbon_intensity_g_per_kwh", interval.intensity_text)
    say("carbon_emissions_ng", receipts.round(energy * interval.intensity / 3600))
  end
  if lane.fallback then say("carbon_fallback", lane.fallback) end
  local metadata = {}
  for index = 1, #receipt, 2 do
    local key = receipt[index]
    metadata[index] = key:gsub("_", "-")
    metadata[index + 1] = lane.printable[key] or text_of(receipt[index + 1])
  end
  return {
    interval = interval,
    good_until_us = good_until_us,
    parameters = wire.parameters(receipt),
    metadata = metadata,
    inferences = inferences,
    energy_uj = energy,
    smallest_uj = receipts.energy_uj(lane.smallest, inferences),
    largest_uj = receipts.energy_uj(lane.largest, inferences),
    decided_uj = receipts.energy_uj(lane.decided, inferences),
  }
end

-- The receipt of a request on a lane in an interval, or in none; kept until its age changes.
function receipts.of(lane, interval, inferences, now_us)
  local known = lane.receipts[inferences]
  if known and known.interval == interval and now_us < known.good_until_us then return known end
  if not known then
    if lane.receipt_count >= KEPT then
      lane.receipts, lane.receipt_count = {}, 0
    end
    lane.receipt_count = lane.receipt_count + 1
  end
  known = write(lane, interval, inferences, now_us)
  lane.receipts[inferences] = known
  return known
end

return receipts
