-- What stands in the queue.
-- KEYS[1]  the queue
-- Reply    how many wait for a later moment; then for each lane: its name, how many are ready, for how many ms the
--          oldest of them has been, how many run, the mean seconds of a job ('' where none has ended yet)
local reply, running, all = {0}, running_by_lane(), 0
for n, lane in ipairs(LANES) do
  local low, high = BANDS[lane], '(' .. string.format('%.0f', BANDS[lane] + 1e15)
  local oldest = redis.call('ZRANGE', queue, low, high, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  local age = oldest[2] and math.max(0, now - (oldest[2] - BANDS[lane])) or 0
  local mean = redis.call('HGET', queue .. ':lanes', lane .. ':job_s') or ''
  table.insert(reply, {lane, redis.call('ZCOUNT', queue, low, high), age, running[n], mean})
  all = all + running[n]
end
reply[1] = math.max(0, redis.call('ZCOUNT', queue, 0, '+inf') - all)
return reply
