-- SHA-256 (FIPS 180-4) of short strings: Envoy's Lua has no digest of its own.

local bit = require("bit")
local band, bnot, bxor, ror, rshift, tobit, tohex =
  bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit, bit.tohex
local byte, char, rep = string.byte, string.char, string.rep

-- The first 32 bits of the fraction of a number: of the roots of primes, the standard takes its constants.
local function fraction(number) return tobit(math.floor((number - math.floor(number)) * 2 ^ 32)) end

local START, ROUND = {}, {}
do
  local candidate = 2
  while #ROUND < 64 do
    local prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      if candidate % divisor == 0 then prime = false end
    end
    if prime then
      ROUND[#ROUND + 1] = fraction(candidate ^ (1 / 3))
      if #START < 8 then START[#START + 1] = fraction(math.sqrt(candidate)) end
    end
    candidate = candidate + 1
  end
end

local words = {}

local function digest_block(data, at, a0, b0, c0, d0, e0, f0, g0, h0)
  for index = 1, 16 do
    local one, two, three, four = byte(data, at + index * 4 - 4, at + index * 4 - 1)
    words[index] = tobit(one * 16777216 + two * 65536 + three * 256 + four)
  end
  for index = 17, 64 do
    local near, far = words[index - 2], words[index - 15]
    words[index] = tobit(
      words[index - 16]
        + bxor(ror(far, 7), ror(far, 18), rshift(far, 3))
        + words[index - 7]
        + bxor(ror(near, 17), ror(near, 19), rshift(near, 10))
    )
  end
  local a, b, c, d, e, f, g, h = a0, b0, c0, d0, e0, f0, g0, h0
  for index = 1, 64 do
    local first = tobit(
      h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g)) + ROUND[index] + words[index]
    )
    local second = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
    h, g, f, e, d, c, b, a = g, f, e, tobit(d + first), c, b, a, tobit(first + second)
  end
  return tobit(a0 + a), tobit(b0 + b), tobit(c0 + c), tobit(d0 + d), tobit(e0 + e), tobit(f0 + f), tobit(g0 + g), tobit(h0 + h)
end

-- The digest in hexadecimal.
local function sha256(message)
  local size = #message
  local bits = size * 8
  local padded = message
    .. "\128"
    .. rep("\0", (55 - size) % 64)
    .. "\0\0\0"
    .. char(math.floor(bits / 2 ^ 32) % 256, rshift(bits, 24), band(rshift(bits, 16), 255), band(rshift(bits, 8), 255), band(bits, 255))
  local a, b, c, d, e, f, g, h = unpack(START)
  for at = 1, #padded, 64 do
    a, b, c, d, e, f, g, h = digest_block(padded, at, a, b, c, d, e, f, g, h)
  end
  return tohex(a) .. tohex(b) .. tohex(c) .. tohex(d) .. tohex(e) .. tohex(f) .. tohex(g) .. tohex(h)
end

return sha256
