-- Gives out messages of a rate that all workers share: a token bucket that holds a second's worth, on the server's clock.
-- KEYS[1]  the moment in microseconds up to which the rate is given out
-- ARGV     messages a second, how many are wanted
-- Reply    how many may be sent now; where that is none, microseconds until one may
local rate, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local cost = 1000000 / rate
local given = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now - math.max(1000000, cost))
local granted = math.min(wanted, math.floor((now - given) / cost + 1e-6))
if granted == 0 then
  return {0, math.ceil(given + cost - now)}
end
redis.call('SET', KEYS[1], string.format('%.0f', given + granted * cost), 'PX', 60000)
return {granted, 0}
