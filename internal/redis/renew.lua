-- Gives a held slot another term in every cap, if it is still held in all.
--
-- KEYS  slots   ARGV  1 slot id   2 slot term, us   3 now, us (tests), or empty: the server's clock
-- Reply 1, or 0 when it is lost
local now = tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
for _, key in ipairs(KEYS) do
  local till = redis.call('ZSCORE', key, ARGV[1])
  if not till or tonumber(till) <= now then return 0 end
end
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', key, math.ceil(ARGV[2] / 1000) + 1000)
end
return 1
