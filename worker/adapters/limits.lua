-- Requests and tokens per minute of one model, over the whole fleet: two buckets that fill steadily (GCRA: what counts
-- is the moment at which all that was granted will have been earned), on the server's clock.
-- KEYS[1]  a hash: requests, tokens (those moments, in ms), not_before (ms: a provider said 429), share and since (what
--          the provider was seen to bear of the configured rate, and when that was)
-- ARGV     what to do:
--   reserve  requests a minute, tokens a minute (0: unlimited), tokens, patience in ms, burst in ms
--            → ms to wait before the call, which is granted; where they exceed the patience: -ms, and nothing is granted
--   held     → ms until a call may begin, since a provider said 429
--   settle   tokens a minute, tokens used less those reserved → 0
--   limited  ms in which no call may begin → 0; the share shrinks by a third, and grows back within a minute
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local KEEP = 600000
local RECOVERY = 60000

local function number_of(field, default)
  return tonumber(redis.call('HGET', KEYS[1], field) or default)
end

local function share()
  return math.min(1, number_of('share', 1) + math.max(0, now - number_of('since', now)) / RECOVERY)
end

-- The wait until the bucket has room, and the moment at which it will have earned this as well.
local function granted(field, per_minute, amount, burst)
  if per_minute == 0 then
    return 0, nil
  end
  local earned = math.max(now, number_of(field, 0))
  return math.max(0, earned - burst - now), earned + amount * 60000 / (per_minute * share())
end

if ARGV[1] == 'reserve' then
  local patience, burst = tonumber(ARGV[5]), tonumber(ARGV[6])
  local requests_wait, requests = granted('requests', tonumber(ARGV[2]), 1, burst)
  local tokens_wait, tokens = granted('tokens', tonumber(ARGV[3]), tonumber(ARGV[4]), burst)
  local wait = math.ceil(math.max(requests_wait, tokens_wait, number_of('not_before', 0) - now))
  if wait > patience then
    return -wait
  end
  if requests then
    redis.call('HSET', KEYS[1], 'requests', requests)
  end
  if tokens then
    redis.call('HSET', KEYS[1], 'tokens', tokens)
  end
  redis.call('PEXPIRE', KEYS[1], KEEP)
  return wait
elseif ARGV[1] == 'held' then
  return math.ceil(math.max(0, number_of('not_before', 0) - now))
elseif ARGV[1] == 'settle' then
  local earned = number_of('tokens', 0)
  if earned > 0 then
    redis.call('HSET', KEYS[1], 'tokens', earned + tonumber(ARGV[3]) * 60000 / (tonumber(ARGV[2]) * share()))
  end
elseif ARGV[1] == 'limited' then
  local until_ms = math.max(number_of('not_before', 0), now + tonumber(ARGV[2]))
  -- Calls that were under way together are refused together: they are one sign, not many.
  local is_news = now - number_of('since', 0) > 1000
  redis.call('HSET', KEYS[1], 'not_before', until_ms)
  if is_news then
    redis.call('HSET', KEYS[1], 'share', math.max(0.1, share() * 2 / 3), 'since', now)
  end
  redis.call('PEXPIRE', KEYS[1], KEEP)
end
return 0
