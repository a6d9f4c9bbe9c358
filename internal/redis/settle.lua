-- Replaces a reservation by what was used, once.
--
-- KEYS  1 open   2 this reservation   3 its settlement   4.. scopes
-- ARGV  1 id   2 remember the settlement for, ms   3-7 actual   then per scope:
--       keep in ms
-- Reply 1 settled now, 0 settled before
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local raw = redis.call('GET', KEYS[2])
if raw then
  local r = cmsgpack.unpack(raw)
  for _, key in ipairs(r[1]) do
    if redis.call('EXISTS', key) == 1 then
      for i = 1, 5 do
        if r[2][i] > 0 then redis.call('HINCRBY', key, 'r' .. i, string.format('%.0f', -r[2][i])) end
      end
    end
  end
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
for k = 4, #KEYS do
  for i = 1, 5 do
    local n = tonumber(ARGV[2 + i])
    if n > 0 then
      -- Totals stay where doubles are exact.
      local s = tonumber(redis.call('HGET', KEYS[k], 's' .. i)) or 0
      s = math.min(s + n, 9007199254740991)
      redis.call('HSET', KEYS[k], 's' .. i, string.format('%.0f', s))
    end
  end
  redis.call('PEXPIRE', KEYS[k], ARGV[4 + k])
end
redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
return 1
