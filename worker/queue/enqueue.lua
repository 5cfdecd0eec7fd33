-- Adds hints to the queue, all of them in one step.
-- KEYS[1]  the queue
-- ARGV     wait in ms, a payload's life in ms after it is due, redelivery in ms; then for each hint: job id, payload,
--          lane, tenant ('' where there is none)
-- Reply    for each hint 1 where it was not in the queue, else 0
local wait, life, redelivery = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = now + wait
local ids = {}
for i = 4, #ARGV, 4 do
  ids[#ids + 1] = ARGV[i]
end

local scores = redis.call('ZMSCORE', queue, unpack(ids))
local added, seen, scored, lines, ready = {}, {}, {}, {}, 0

local function put(id, lane, tenant)
  if wait > 0 then
    scored[#scored + 1] = due
    scored[#scored + 1] = id
    return
  end
  scored[#scored + 1] = BANDS[lane] + due
  scored[#scored + 1] = id
  local key = lane .. ':' .. tenant
  lines[key] = lines[key] or {lane = lane, tenant = tenant, ids = {}}
  table.insert(lines[key].ids, id)
  ready = ready + 1
end

for n, id in ipairs(ids) do
  local at = 4 * n
  local lane, tenant, score = lane_of(ARGV[at + 2]), ARGV[at + 3], tonumber(scores[n] or nil)
  added[n] = 0
  if not seen[id] then
    seen[id] = true
    redis.call('SET', 'arq:job:' .. id, ARGV[at + 1], 'PX', wait + life)
    if not score then
      added[n] = 1
      put(id, lane, tenant)
    else
      -- Somebody took the hint and yet its row is still to be claimed: either the claim is under way, or the taker is
      -- dead and its mark (arq's own lasts as long as a job may take) would keep others away. A second claim is
      -- harmless, so the mark is cut.
      local mark = 'arq:in-progress:' .. id
      local left = redis.call('PTTL', mark)
      if left == -2 then
        if due < score then -- it waits for a later moment, and is asked for at an earlier one
          put(id, lane, tenant)
        end
      elseif left == -1 or left > redelivery then
        redis.call('PEXPIRE', mark, redelivery)
        redis.call('ZADD', queue, 'LT', now + redelivery, id)
      end
    end
  end
end

if #scored > 0 then
  redis.call('ZADD', queue, unpack(scored))
end
for _, line in pairs(lines) do
  redis.call('RPUSH', line_of(line.lane, line.tenant), unpack(line.ids))
  take_turns(line.lane, line.tenant)
end
if wait > 0 and wait < 500 then
  ready = ready + 1 -- an idle worker looks twice a second; this one learns when to look
end
wake(ready)
return added
