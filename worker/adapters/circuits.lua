-- Compare and set: writes only over the value that the caller has read. Answers 1 when it has.
-- KEYS[1]  a circuit. ARGV: what was read, what to write ('' both times: nothing); how long to keep it, in ms
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
