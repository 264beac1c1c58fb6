-- Takes up to n waiting jobs, each under a lease: those of dead workers too, which wait at their old places as soon as
-- their leases are over. The scan sees only what waits, never the jobs that run elsewhere.
-- KEYS[3] key that says that a worker was heard, KEYS[4] the worker's last take, KEYS[5] jobs that wait, KEYS[6] jobs that run.
-- ARGV[1] worker, ARGV[2] lease (ms), ARGV[3] n, ARGV[4] prefix of arq's in-progress keys, ARGV[5] their time to live (ms),
-- ARGV[6] token of this take: a repeat after a lost reply returns the same jobs, and takes no more.
-- Returns {id, place, end of its lease, id, …}, oldest first.
-- One server only: the queue, the leases, the lists of jobs, and arq's keys, whose names it makes of the ids.
-- Needs clock, ids, leases.
local worker, lease, token = ARGV[1], tonumber(ARGV[2]), ARGV[6]
local now = now_ms()
hear(KEYS[3], now, lease)

local ids = {}
local last = text(KEYS[4])
if last and string.sub(last, 1, #token) == token then
  for id in string.gmatch(string.sub(last, #token + 1), '%S+') do
    -- If the repeat took long, it may be another's by now.
    if text(ARGV[4] .. id) == worker then ids[#ids + 1] = id end
  end
else
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', ms(now))) do put_back(id, ARGV[4] .. id) end
  -- Longer than any lease: set by hand, or before Redis' clock leapt back.
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, ms(now + LONGEST), '+inf', 'LIMIT', 0, 100)) do
    redis.call('ZADD', leases, ms(now + lease), id)
  end
  ids = due_ids(queue, ms(now), tonumber(ARGV[3]))
  if #ids > 0 then
    redis.call('SET', KEYS[4], token .. ' ' .. table.concat(ids, ' '), 'PX', ms(10 * lease))
  end
end

local taken = {}
for _, id in ipairs(ids) do
  local at = place(id)
  if at then
    list_as_running(id, KEYS[5], KEYS[6])
    hold(id, at, now + lease, ARGV[4] .. id, worker, ARGV[5])
    taken[#taken + 1] = id
    taken[#taken + 1] = ms(at)
    taken[#taken + 1] = ms(now + lease)
  end
end
return taken
