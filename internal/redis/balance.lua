-- Reads the scopes of an account.
--
-- KEYS  1 open   2.. scopes
-- ARGV  1 now, us (tests), or empty: the server's clock
-- Reply per scope s1-s5 and r1-r5, as text. Reservations that have expired and
-- were not yet returned do not count.
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local late = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 200)) do
  local raw = redis.call('GET', KEYS[1] .. ':' .. id)
  if raw then
    local r = cmsgpack.unpack(raw)
    for _, key in ipairs(r[1]) do
      late[key] = late[key] or {0, 0, 0, 0, 0}
      for i = 1, 5 do late[key][i] = late[key][i] + r[2][i] end
    end
  end
end
local out = {}
for k = 2, #KEYS do
  local h = redis.call('HMGET', KEYS[k], 's1', 's2', 's3', 's4', 's5', 'r1', 'r2', 'r3', 'r4', 'r5')
  for i = 1, 10 do
    local n = tonumber(h[i]) or 0
    if i > 5 and late[KEYS[k]] then n = n - late[KEYS[k]][i - 5] end
    out[#out + 1] = string.format('%.0f', n)
  end
end
return out
