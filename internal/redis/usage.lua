-- Reads what take.lua keeps, changing nothing.
--
-- KEYS  as in take.lua
-- ARGV  1 now, us (tests), or empty: the server's clock   then per level: mask
-- Reply per bucket its depth in us, per slots how many are held
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local out, k = {}, 1
for a = 2, #ARGV do
  local mask = tonumber(ARGV[a])
  if mask % 8 > 0 then
    local x = {0, 0, 0}
    local raw = redis.call('GET', KEYS[k])
    k = k + 1
    if raw then x[1], x[2], x[3] = struct.unpack('<ddd', raw) end
    local bit = 1
    for i = 1, 3 do
      if mask % (2 * bit) >= bit then
        local d = x[i] - now
        if d < 0 then d = 0 end
        out[#out + 1] = d
      end
      bit = bit * 2
    end
  end
  if mask >= 8 then
    out[#out + 1] = redis.call('ZCOUNT', KEYS[k], '(' .. string.format('%.0f', now), '+inf')
    k = k + 1
  end
end
return out
