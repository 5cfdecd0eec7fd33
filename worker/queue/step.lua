-- Ends jobs, then gives out others: one call, however many.
-- KEYS[1]  the queue
-- ARGV     owner, lease in ms, how many to give out, places of one tenant (0: no limit), the weight of each lane in the
--          order of LANES, how many end; then for each that ends: job id, token, how (done, release), lane, tenant,
--          for how many ms it ran, its result ('' for none)
-- Reply    ids whose lease was lost; ms until more is due (0: there is more, -1: not known); then for each job given
--          out: id, token, lane, tenant, try, payload, for how many ms it had been due, 1 where it is to be aborted
local owner, lease, claims, places = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local weights = {}
for n, lane in ipairs(LANES) do
  weights[lane] = tonumber(ARGV[4 + n])
end
local first = 5 + #LANES
local ends = tonumber(ARGV[first])
local RESULT_LIFE = 60000 -- of an aborted job: `Job.abort` waits for it
local ABORT_LIFE = 60000
local FIELDS = 7

-- Ends

local lost, keys, removed, seconds = {}, {}, {}, {}

local function is_held(id, token, mark)
  if mark == token then
    return true
  end
  -- The lease ended but nobody has taken the job since: its end stands.
  return not mark and redis.call('GET', 'arq:retry:' .. id) == string.match(token, '[^:]*$')
    and redis.call('ZSCORE', queue, id)
end

local function finish(id, result)
  table.insert(keys, 'arq:in-progress:' .. id)
  table.insert(keys, 'arq:job:' .. id)
  table.insert(keys, 'arq:retry:' .. id)
  table.insert(removed, id)
  if result ~= '' then
    redis.call('SET', 'arq:result:' .. id, result, 'PX', RESULT_LIFE)
    redis.call('ZREM', 'arq:abort', id)
  end
end

if ends > 0 then
  local marks = {}
  for n = 1, ends do
    marks[n] = 'arq:in-progress:' .. ARGV[first + 1 + FIELDS * (n - 1)]
  end
  marks = redis.call('MGET', unpack(marks))
  for n = 1, ends do
    local at = first + FIELDS * (n - 1)
    local id, token, how, lane, tenant = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
    if is_held(id, token, marks[n]) then
      if how == 'done' then
        seconds[lane] = seconds[lane] or {}
        table.insert(seconds[lane], tonumber(ARGV[at + 6]) / 1000)
        finish(id, ARGV[at + 7])
      else
        release(id, lane, tenant)
      end
      if places > 0 then
        free_place(tenant, id)
      end
    elseif marks[n] or redis.call('ZSCORE', queue, id) then -- else it has ended: this call came twice
      table.insert(lost, id)
    end
  end
  if #keys > 0 then
    redis.call('DEL', unpack(keys))
    redis.call('ZREM', queue, unpack(removed))
  end
  for lane, all in pairs(seconds) do
    local mean = tonumber(redis.call('HGET', queue .. ':lanes', lane .. ':job_s') or all[1])
    for _, s in ipairs(all) do
      mean = mean + (s - mean) / 50
    end
    redis.call('HSET', queue .. ':lanes', lane .. ':job_s', mean)
  end
end

local reply = {lost, -1}
if claims == 0 then
  return reply
end

-- Who is due and stands in no line: it waited for its moment, its worker died, or somebody enqueued it by arq's own API.

local due = redis.call('ZRANGE', queue, 0, now, 'BYSCORE', 'LIMIT', 0, math.max(claims, 100), 'WITHSCORES')
for i = 1, #due, 2 do
  local id, since = due[i], tonumber(due[i + 1])
  local lane, tenant = place_of(redis.call('GET', 'arq:job:' .. id))
  if since < 1e12 then
    since = now -- `Job.abort` brings a job forward by the score 1
  end
  redis.call('ZADD', queue, 'XX', BANDS[lane] + since, id)
  local was_given_out = redis.call('EXISTS', 'arq:retry:' .. id) == 1
  redis.call(was_given_out and 'LPUSH' or 'RPUSH', line_of(lane, tenant), id)
  take_turns(lane, tenant)
end

if places > 0 then
  for _, lane in ipairs(LANES) do
    for _, tenant in ipairs(redis.call('ZRANGE', queue .. ':full:' .. lane, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
      redis.call('ZREM', queue .. ':full:' .. lane, tenant)
      take_turns(lane, tenant)
    end
  end
end

-- Whose turn it is

local function waiting_in(lane)
  local rows = redis.call('ZRANGE', queue .. ':tenants:' .. lane, 0, claims - 1, 'WITHSCORES')
  local tenants = {}
  for i = 1, #rows, 2 do
    table.insert(tenants, {name = rows[i], lane = lane, turn = tonumber(rows[i + 1]), taken = 0})
  end
  return {name = lane, tenants = tenants, all = {}, at = 1, turn = tenants[1] and tenants[1].turn or 0}
end

-- How many a tenant may still have given out now; the second value: its places end before its line does.
local function available(lane, tenant)
  local waiting = redis.call('LLEN', line_of(lane.name, tenant.name))
  if places == 0 then
    return waiting, false
  end
  local key = queue .. ':places:' .. tenant.name
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local room = math.max(0, places - redis.call('ZCARD', key))
  return math.min(waiting, room), room < waiting
end

-- The next tenant in turn; nil where nobody waits. The tenants stay sorted: those before `at` have had this turn.
local function next_tenant(lane)
  while #lane.tenants > 0 do
    if lane.at > #lane.tenants or lane.tenants[lane.at].turn > lane.turn then
      lane.at, lane.turn = 1, lane.tenants[1].turn
    end
    local tenant = lane.tenants[lane.at]
    if not tenant.left then
      tenant.left, tenant.is_full = available(lane, tenant)
      table.insert(lane.all, tenant)
    end
    if tenant.taken < tenant.left then
      tenant.taken, tenant.turn, lane.at = tenant.taken + 1, lane.turn + 1, lane.at + 1
      return tenant
    end
    table.remove(lane.tenants, lane.at)
  end
end

-- Stride scheduling (Waldspurger and Weihl 1995) between the lanes: the one with the lowest pass, which is not further
-- back than the pass that was served last, however long it was empty.
local lanes, passes, fields = {}, {}, {'pass'}
for n, lane in ipairs(LANES) do
  lanes[n], fields[n + 1] = waiting_in(lane), lane .. ':pass'
end
local noted = redis.call('HMGET', queue .. ':lanes', unpack(fields))
local served = tonumber(noted[1] or '0')
for n in ipairs(LANES) do
  passes[n] = math.max(served, tonumber(noted[n + 1] or '0'))
end
local wanted = claims
while wanted > 0 do
  local best
  for n, lane in ipairs(lanes) do
    if #lane.tenants > 0 and (not best or passes[n] < passes[best]) then
      best = n
    end
  end
  if not best then
    break
  end
  if next_tenant(lanes[best]) then
    served = passes[best]
    passes[best] = passes[best] + 1 / weights[lanes[best].name]
    wanted = wanted - 1
  end
end

-- Out of the lines

local ids, whose = {}, {}
for n, lane in ipairs(lanes) do
  local tenants, full = queue .. ':tenants:' .. lane.name, queue .. ':full:' .. lane.name
  for _, tenant in ipairs(lane.all) do
    if tenant.taken > 0 then
      for _, id in ipairs(redis.call('LPOP', line_of(lane.name, tenant.name), tenant.taken)) do
        table.insert(ids, id)
        table.insert(whose, tenant)
      end
    end
    if tenant.taken < tenant.left then
      redis.call('ZADD', tenants, 'XX', tenant.turn, tenant.name)
    else
      redis.call('ZREM', tenants, tenant.name)
      if tenant.is_full then
        redis.call('ZADD', full, now + lease, tenant.name)
      end
    end
  end
  if #lane.all > 0 then
    redis.call('HSET', queue .. ':lanes', 'pass', served, lane.name .. ':pass', passes[n], lane.name .. ':turn', lane.turn)
  end
end

-- Into their workers' hands

local function tried(id)
  local key = 'arq:retry:' .. id
  if redis.call('SET', key, 1, 'NX', 'EX', 88400) then
    return 1
  end
  return redis.call('INCR', key)
end

if #ids > 0 then
  local marks, payloads = {}, {}
  for n, id in ipairs(ids) do
    marks[n], payloads[n] = 'arq:in-progress:' .. id, 'arq:job:' .. id
  end
  local scores = redis.call('ZMSCORE', queue, unpack(ids))
  marks, payloads = redis.call('MGET', unpack(marks)), redis.call('MGET', unpack(payloads))
  local has_aborts = redis.call('EXISTS', 'arq:abort') == 1
  if has_aborts then -- an abort of a job that was not there must not meet the next one of that name
    redis.call('ZREMRANGEBYSCORE', 'arq:abort', '-inf', now - ABORT_LIFE)
  end
  local stamp = owner .. ':' .. clock[1] .. string.format('%06d', clock[2]) .. ':'
  local rescored, occupied = {}, {}
  for n, id in ipairs(ids) do
    local score, lane, tenant = tonumber(scores[n] or nil), whose[n].lane, whose[n].name
    -- A line may name what arq's own worker has ended, or put off: that is passed over.
    if score and score < 0 and marks[n] then -- arq's own worker runs it
      local left = redis.call('PTTL', 'arq:in-progress:' .. id)
      table.insert(rescored, now + ((left < 1 or left > lease) and lease or left))
      table.insert(rescored, id)
    elseif score and score < 0 then
      local try = tried(id)
      local token = stamp .. try
      redis.call('SET', 'arq:in-progress:' .. id, token, 'PX', lease)
      table.insert(rescored, now + lease)
      table.insert(rescored, id)
      if places > 0 then
        occupied[tenant] = occupied[tenant] or {}
        table.insert(occupied[tenant], now + lease)
        table.insert(occupied[tenant], id)
      end
      local is_aborted = has_aborts and redis.call('ZSCORE', 'arq:abort', id)
      local waited = math.max(0, now - (score - BANDS[lane]))
      table.insert(reply, {id, token, lane, tenant, try, payloads[n], waited, is_aborted and 1 or 0})
    end
  end
  if #rescored > 0 then
    redis.call('ZADD', queue, 'XX', unpack(rescored))
  end
  for tenant, entries in pairs(occupied) do
    redis.call('ZADD', queue .. ':places:' .. tenant, unpack(entries))
    redis.call('PEXPIRE', queue .. ':places:' .. tenant, 2 * lease)
  end
end

-- When to look again

local waiting, full = {}, {}
for n, lane in ipairs(LANES) do
  waiting[n], full[n] = queue .. ':tenants:' .. lane, queue .. ':full:' .. lane
end
local has_more = redis.call('EXISTS', unpack(waiting)) > 0
if #ids == 0 and not has_more and redis.call('EXISTS', unpack(full)) == 0 then
  -- Nothing waits in a line, so nothing may say that it does; if it does the lines were lost, and are made again.
  for _, id in ipairs(redis.call('ZRANGE', queue, '-inf', '(0', 'BYSCORE', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', queue, 'XX', now, id)
    has_more = true
  end
end
if has_more then
  reply[2] = 0
  wake(1)
else
  local soonest = redis.call('ZRANGE', queue, 0, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if soonest[2] then
    reply[2] = math.max(1, soonest[2] - now)
  end
end
return reply
