-- Takes the turn, or keeps it. Answers 1 when it is the caller's.
-- KEYS[1]  who has the turn. ARGV: the caller's token; for how long, in ms
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
