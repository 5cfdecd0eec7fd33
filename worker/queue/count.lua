-- Notes how many jobs of each lane a worker runs; those of workers that no longer say so are dropped.
-- KEYS[1]  the queue
-- ARGV     the worker; for each lane of LANES how many
-- Reply    how many of each lane run in the whole fleet
local workers = queue .. ':workers'
if ARGV[1] ~= '' then
  redis.call('HSET', workers, ARGV[1], now .. ':' .. table.concat(ARGV, ':', 2))
end
return running_by_lane()
