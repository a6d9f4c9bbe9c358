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
local call, unpack = redis.call, struct.unpack
-- Flat arrays, three places per level: fewer tables, and Lua spends its time on
-- those.
local tat, step, deep, masks = {}, {}, {}, {}
local a, k, n = 6, 1, 0
local wait, level, index, depth = -1, 0, 0, 0
local count = #ARGV
while a <= count do
  local mask = tonumber(ARGV[a])
  a = a + 1
  n = n + 1
  masks[n] = mask
  local base = 3 * n - 3
  if mask % 8 > 0 then
    local raw = call('GET', KEYS[k])
    k = k + 1
    if raw then
      tat[base + 1], tat[base + 2], tat[base + 3] = unpack('<ddd', raw)
    else
      tat[base + 1], tat[base + 2], tat[base + 3] = 0, 0, 0
    end
    local bit = 1
    for i = 1, 3 do
      if mask % (2 * bit) >= bit then
        local interval, span = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
        a = a + 2
        step[base + i], deep[base + i] = interval, span
        local d = tat[base + i] - now
        if d < 0 then
          d = 0
          tat[base + i] = now
        end
        local left = math.floor((span - d) / interval)
        if left < cost then
          local w = d + cost * interval - span
          if w > wait then wait, level, index, depth = w, n - 1, i - 1, d end
        elseif left < grant then
          grant = left
        end
      end
      bit = bit * 2
    end
  end
  if mask >= 8 then
    local key, cap = KEYS[k], tonumber(ARGV[a])
    k = k + 1
    a = a + 1
    if call('ZCARD', key) >= cap then
      call('ZREMRANGEBYSCORE', key, '-inf', now)
      if call('ZCARD', key) >= cap and wait < 1000000 then
        wait, level, index, depth = 1000000, n - 1, 3, 0
      end
    end
  end
end
if wait >= 0 then
  return {0, level, index, depth, wait}
end
local tightest = math.huge
index, k = 3, 1
for l = 1, n do
  local mask, base = masks[l], 3 * l - 3
  if mask % 8 > 0 then
    local far = 0
    for i = 1, 3 do
      local interval = step[base + i]
      local d = tat[base + i] - now
      if interval then
        d = d + grant * interval
        tat[base + i] = now + d
        local left = math.floor((deep[base + i] - d) / interval)
        if left < tightest then tightest, level, index, depth = left, l - 1, i - 1, d end
      end
      if d > far then far = d end
    end
    call('SET', KEYS[k], struct.pack('<ddd', tat[base + 1], tat[base + 2], tat[base + 3]), 'PX', math.ceil(far / 1000) + 1000)
    k = k + 1
  end
  if mask >= 8 then
    call('ZADD', KEYS[k], now + ARGV[4], ARGV[3])
    call('PEXPIRE', KEYS[k], math.ceil(ARGV[4] / 1000) + 1000)
    k = k + 1
  end
end
return {grant, level, index, depth, 0}
