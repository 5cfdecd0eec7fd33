-- Extends leases.
-- KEYS[1]  the queue
-- ARGV     lease in ms; then for each: job id, token, tenant
-- Reply    ids whose lease was lost: somebody else was given the job, or it is no longer in the queue
local lease = tonumber(ARGV[1])
local lost = {}
for i = 2, #ARGV, 3 do
  local id, token, tenant = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local mark = redis.call('GET', 'arq:in-progress:' .. id)
  -- A lease that ended, of a job that nobody was given since, is taken up again.
  local is_held = mark == token or not mark and redis.call('ZSCORE', queue, id)
    and redis.call('GET', 'arq:retry:' .. id) == string.match(token, '[^:]*$')
  if is_held then
    redis.call('SET', 'arq:in-progress:' .. id, token, 'PX', lease)
    redis.call('ZADD', queue, 'XX', now + lease, id)
    redis.call('ZADD', queue .. ':places:' .. tenant, 'XX', now + lease, id)
    redis.call('PEXPIRE', queue .. ':places:' .. tenant, 2 * lease)
  else
    table.insert(lost, id)
  end
end
return lost
