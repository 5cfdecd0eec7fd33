-- Hands back what was given out to a worker that never heard of it, because the reply was lost.
-- KEYS[1]  the queue
-- ARGV     the owner, the lease in ms; then the ids that it does know of
-- Reply    how many were handed back
local owner, lease = ARGV[1] .. ':', tonumber(ARGV[2])
local known, recalled = {}, 0
for i = 3, #ARGV do
  known[ARGV[i]] = true
end
for _, id in ipairs(redis.call('ZRANGE', queue, now, now + lease, 'BYSCORE')) do -- what runs in the fleet
  local mark = redis.call('GET', 'arq:in-progress:' .. id)
  if mark and string.sub(mark, 1, #owner) == owner and not known[id] then
    local lane, tenant = place_of(redis.call('GET', 'arq:job:' .. id))
    release(id, lane, tenant)
    free_place(tenant, id)
    recalled = recalled + 1
  end
end
return recalled
