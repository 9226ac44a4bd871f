-- What the filter does with a request, written for Envoy's Lua filter: one canary, its unit from a header.
local bit = require("bit")
local band, bxor, rol, rshift, tobit = bit.band, bit.bxor, bit.rol, bit.rshift, bit.tobit
local byte, floor, sub = string.byte, math.floor, string.sub

local PREFIX = "/v2/models/model-500/"
local SALT = "model-500/v2:"
local EXPOSED = 100000
local CLUSTER, ASSIGNMENT = {"fraud-v1", "fraud-v2"}, {"model-500=v1", "model-500=v2"}

-- The product modulo 2^32. A number is a double, exact to 2^53, so one factor goes in two halves.
local function mul(a, b)
  return tobit(band(a, 0xffff) * b + (rshift(a, 16) * b % 65536) * 65536)
end

local function scramble(k)
  return mul(rol(mul(k, 0xcc9e2d51), 15), 0x1b873593)
end

local function murmur3(text)
  local length = #text
  local rest = length % 4
  local h = 0
  for at = 1, length - rest, 4 do
    local a, b, c, d = byte(text, at, at + 3)
    h = bxor(h, scramble(tobit(a + b * 0x100 + c * 0x10000 + d * 0x1000000)))
    h = tobit(rol(h, 13) * 5 + 0xe6546b64)
  end
  if rest > 0 then
    local a, b, c = byte(text, length - rest + 1, length)
    h = bxor(h, scramble(a + (b or 0) * 0x100 + (c or 0) * 0x10000))
  end
  h = bxor(h, length)
  h = mul(bxor(h, rshift(h, 16)), 0x85ebca6b)
  h = mul(bxor(h, rshift(h, 13)), 0xc2b2ae35)
  return bxor(h, rshift(h, 16)) % 4294967296
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, unit, unwanted
  for name, value in pairs(headers) do
    if name == ":path" then
      path = value
    elseif name == "x-user-id" then
      unit = unit or value
    elseif sub(name, 1, 10) == "x-rollout-" then
      unwanted = unwanted or {}
      unwanted[#unwanted + 1] = name
    end
  end
  if unwanted then
    for _, name in ipairs(unwanted) do headers:remove(name) end
  end
  if sub(path, 1, #PREFIX) ~= PREFIX then return end
  local version = 1
  if unit and unit ~= "" and floor(murmur3(SALT .. unit) * 1000000 / 4294967296) < EXPOSED then version = 2 end
  headers:replace("x-rollout-cluster", CLUSTER[version])
  headers:replace("x-rollout-fallback", CLUSTER[version])
  headers:replace("x-rollout-pick", "0")
  headers:replace("x-rollout-assignment", ASSIGNMENT[version])
end
