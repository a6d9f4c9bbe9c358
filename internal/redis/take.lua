-- Decides over all windows and caps of one ask: charges all or none.
--
-- KEYS  per level: its windows, if it has any; its slots, if it has any
-- ARGV  1 cost   2 want: tokens to charge if there are so many, >= cost
--       3 slot id   4 slot term, us   5 now, us (tests), or empty: the server's clock
--       then per level: mask (1 minute, 2 hour, 4 day, 8 slots),
--       interval and span per window, cap per slots
-- Reply granted tokens (0: refused), level, index (0-2 window, 3 slots; the
--       tightest, or the one to wait for), depth after the decision in us,
--       wait in us
--
-- Windows are one string of three little-endian doubles: theoretical arrival
-- times in us of the server's clock. Doubles are exact to 2^53 us, year 2255.
local now = tonumber(ARGV[5])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local cost, grant = tonumber(ARGV[1]), tonumber(ARGV[2])
local levels = {}
local a, k, n = 6, 1, 0
local wait, level, index, depth = -1, 0, 0, 0
while a <= #ARGV do
  local mask = tonumber(ARGV[a])
  a = a + 1
  local l = {}
  n = n + 1
  levels[n] = l
  if mask % 8 > 0 then
    l.key = KEYS[k]
    k = k + 1
    local raw = redis.call('GET', l.key)
    if raw then
      l[0], l[1], l[2] = struct.unpack('<ddd', raw)
    else
      l[0], l[1], l[2] = 0, 0, 0
    end
    l.interval, l.span = {}, {}
    local bit = 1
    for i = 0, 2 do
      if mask % (2 * bit) >= bit then
        local interval, span = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
        a = a + 2
        l.interval[i], l.span[i] = interval, span
        local d = l[i] - now
        if d < 0 then d = 0 end
        local left = math.floor((span - d) / interval)
        if left < cost then
          local w = d + cost * interval - span
          if w > wait then wait, level, index, depth = w, n - 1, i, d end
        elseif left < grant then
          grant = left
        end
      end
      bit = bit * 2
    end
  end
  if mask >= 8 then
    l.slots = KEYS[k]
    k = k + 1
    local cap = tonumber(ARGV[a])
    a = a + 1
    if redis.call('ZCARD', l.slots) >= cap then
      redis.call('ZREMRANGEBYSCORE', l.slots, '-inf', now)
      if redis.call('ZCARD', l.slots) >= cap and wait < 1000000 then
        wait, level, index, depth = 1000000, n - 1, 3, 0
      end
    end
  end
end
if wait >= 0 then
  return {0, level, index, depth, wait}
end
local tightest = math.huge
index = 3
for i = 1, n do
  local l = levels[i]
  if l.key then
    local far = 0
    for w = 0, 2 do
      local interval = l.interval[w]
      if interval then
        if l[w] < now then l[w] = now end
        l[w] = l[w] + grant * interval
        local d = l[w] - now
        local left = math.floor((l.span[w] - d) / interval)
        if left < tightest then tightest, level, index, depth = left, i - 1, w, d end
      end
      local d = l[w] - now
      if d > far then far = d end
    end
    redis.call('SET', l.key, struct.pack('<ddd', l[0], l[1], l[2]), 'PX', math.ceil(far / 1000) + 1000)
  end
  if l.slots then
    redis.call('ZADD', l.slots, now + ARGV[4], ARGV[3])
    redis.call('PEXPIRE', l.slots, math.ceil(ARGV[4] / 1000) + 1000)
  end
end
return {grant, level, index, depth, 0}
