-- Sets amounts aside in every scope of an account, or in none. Returns expired
-- reservations of the tenant first.
--
-- KEYS  1 open: sorted set of reservation ids by expiry   2 this reservation
--       3.. scopes: hashes of s1-s5 spent and r1-r5 reserved
-- ARGV  1 id   2 now, us (tests), or empty: the server's clock   3 term, us
--       4-8 amounts   then per scope: 5 limits (-1: none), keep in ms
-- Reply {} when reserved, or scope, resource (from 0) and what is left, as text
--
-- The keys of an expired reservation are not in KEYS; they share its tenant's
-- hash tag and so its slot.
local now = tonumber(ARGV[2])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local function giveback(raw)
  local r = cmsgpack.unpack(raw)
  for _, key in ipairs(r[1]) do
    if redis.call('EXISTS', key) == 1 then
      for i = 1, 5 do
        if r[2][i] > 0 then redis.call('HINCRBY', key, 'r' .. i, string.format('%.0f', -r[2][i])) end
      end
    end
  end
end
-- A bounded look back: what is left over is still set aside, and returned next.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 200)) do
  local key = KEYS[1] .. ':' .. id
  local raw = redis.call('GET', key)
  if raw then
    giveback(raw)
    redis.call('DEL', key)
  end
  redis.call('ZREM', KEYS[1], id)
end
local amounts = {}
for i = 1, 5 do amounts[i] = tonumber(ARGV[3 + i]) end
local a = 9
for k = 3, #KEYS do
  local h = redis.call('HMGET', KEYS[k], 's1', 's2', 's3', 's4', 's5', 'r1', 'r2', 'r3', 'r4', 'r5')
  for i = 1, 5 do
    local limit = tonumber(ARGV[a + i - 1])
    local used = (tonumber(h[i]) or 0) + (tonumber(h[i + 5]) or 0)
    if amounts[i] > 0 and limit >= 0 and used + amounts[i] > limit then
      return {k - 3, i - 1, string.format('%.0f', limit - used)}
    end
  end
  a = a + 6
end
local scopes, longest = {}, 0
a = 14
for k = 3, #KEYS do
  for i = 1, 5 do
    if amounts[i] > 0 then redis.call('HINCRBY', KEYS[k], 'r' .. i, string.format('%.0f', amounts[i])) end
  end
  local keep = tonumber(ARGV[a])
  if keep > longest then longest = keep end
  redis.call('PEXPIRE', KEYS[k], keep)
  scopes[#scopes + 1] = KEYS[k]
  a = a + 6
end
-- The reservation outlives its scopes, or what it holds could not be returned.
redis.call('SET', KEYS[2], cmsgpack.pack({scopes, amounts}), 'PX', longest)
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
if redis.call('PTTL', KEYS[1]) < longest then redis.call('PEXPIRE', KEYS[1], longest) end
return {}
