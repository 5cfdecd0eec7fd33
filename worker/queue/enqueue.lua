-- Adds hints to arq's queue, all of them in one step. Answers how many were not in it.
-- KEYS[1]  the queue, a sorted set: job id by the time from which it is due, in ms
-- ARGV     wait in ms, a payload's life in ms, redelivery in ms; then for each hint its job id and its payload
--
-- arq keeps a job in the sorted set while it runs, so membership alone says whether a hint waits or runs.
local wait, life, redelivery = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + wait
local added = 0

for i = 4, #ARGV, 2 do
  local id, payload = ARGV[i], ARGV[i + 1]
  redis.call('SET', 'arq:job:' .. id, payload, 'PX', wait + life)
  -- LT: a hint that waits for a later moment and is asked for again is due at the earlier one.
  added = added + redis.call('ZADD', KEYS[1], 'LT', due, id)
  -- Somebody took the hint and yet its row is still to be claimed: either the claim is under way, or the taker is dead
  -- and its mark would keep others away for as long as a job may run. A second claim is harmless, so the mark is cut.
  local mark = 'arq:in-progress:' .. id
  if redis.call('PTTL', mark) > redelivery then
    redis.call('PEXPIRE', mark, redelivery)
  end
end
return added
