-- What the queue's scripts share; it stands before each of them.
--
-- arq's keys
--   KEYS[1]                        the queue, a sorted set: job id by score
--   arq:job:ID                     the payload
--   arq:in-progress:ID             who runs it: owner:microseconds:try, with the lease as its life; arq itself writes 1
--   arq:retry:ID                   how often it was given out
--   arq:abort                      sorted set: ids that `Job.abort` wants ended
-- Ours; all of them can be made again from arq's
--   QUEUE:line:LANE:TENANT         list: ids that are ready, the next one first
--   QUEUE:tenants:LANE             sorted set: tenants who have a line, by their turn
--   QUEUE:full:LANE                sorted set: tenants all of whose places are taken, by the time to look again
--   QUEUE:lanes                    hash: turn and pass of the lanes, mean seconds of a job
--   QUEUE:workers                  hash: worker by time:count of each lane that it runs, as it said about a second ago
--   QUEUE:places:TENANT            sorted set: ids that run, by the end of their lease, where places are limited
--   QUEUE:wake                     list: a token for each idle worker that should look
--
-- Scores. From 0 on they are as arq has them, the time in ms from which a job is due; while it runs here that is the
-- end of its lease, so that the job of a worker that died is due by itself and the head of the queue never clogs.
-- Below 0 a job is ready and stands in a line: the lane's band plus the time from which it was due. arq's own worker
-- takes whatever scores below now, so it serves the same jobs, by lane and age. A double holds these exactly.
--
-- Turns are start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with jobs of one size: whoever is served goes
-- back by one turn, whoever comes anew stands one behind the turn that is being served.
local LANES = {'interactive', 'bulk'}
local BANDS = {interactive = -2e15, bulk = -1e15}
local WAKE_CAP = 16 -- tokens: more would be looks in vain

local queue = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function lane_of(name)
  return BANDS[name] and name or 'bulk'
end

local function line_of(lane, tenant)
  return queue .. ':line:' .. lane .. ':' .. tenant
end

-- Lets a tenant who has a line take turns, unless all of its places are taken.
local function take_turns(lane, tenant)
  if not redis.call('ZSCORE', queue .. ':full:' .. lane, tenant) then
    local turn = tonumber(redis.call('HGET', queue .. ':lanes', lane .. ':turn') or '0')
    redis.call('ZADD', queue .. ':tenants:' .. lane, 'NX', turn + 1, tenant)
  end
end

local function wake(count)
  for _ = 1, math.min(count, WAKE_CAP) do
    if redis.call('RPUSH', queue .. ':wake', '1') > WAKE_CAP then
      redis.call('RPOP', queue .. ':wake')
      return
    end
  end
end

local WORKER_SILENT = 5000 -- ms; then it is dead, or cut off

local function running_by_lane()
  local sums = {}
  for n in ipairs(LANES) do
    sums[n] = 0
  end
  local said = redis.call('HGETALL', queue .. ':workers')
  for i = 1, #said, 2 do
    local numbers = {}
    for number in string.gmatch(said[i + 1], '%d+') do
      table.insert(numbers, tonumber(number))
    end
    if now - numbers[1] > WORKER_SILENT then
      redis.call('HDEL', queue .. ':workers', said[i])
    else
      for n in ipairs(LANES) do
        sums[n] = sums[n] + (numbers[n + 1] or 0)
      end
    end
  end
  return sums
end

-- The lane and the tenant of a job that stands in no line. Who enqueues by arq's own API may write anything.
local function place_of(payload)
  local is_json, job = pcall(cjson.decode, payload or '')
  local hint = is_json and type(job) == 'table' and type(job.a) == 'table' and job.a or {}
  local tenant = type(hint[5]) == 'string' and hint[5] or ''
  return lane_of(hint[4]), tenant
end

-- Gives the try back; the job is the next of its tenant.
local function release(id, lane, tenant)
  redis.call('DEL', 'arq:in-progress:' .. id)
  redis.call('DECR', 'arq:retry:' .. id)
  redis.call('ZADD', queue, 'XX', BANDS[lane] + now, id)
  redis.call('LPUSH', line_of(lane, tenant), id)
  take_turns(lane, tenant)
  wake(1)
end

local function free_place(tenant, id)
  redis.call('ZREM', queue .. ':places:' .. tenant, id)
  for _, lane in ipairs(LANES) do
    if redis.call('ZREM', queue .. ':full:' .. lane, tenant) == 1 then
      take_turns(lane, tenant)
    end
  end
end
