-- Which of these jobs, which have begun, wait for a worker: theirs is dead, or has given them back.
-- KEYS[3] workers (sorted set).
-- ARGV[1] prefix of arq's in-progress keys, ARGV[2] prefix of signs of life, ARGV[3] prefix of the workers' channels,
-- ARGV[4..] job ids.
-- Returns {ms since the epoch, live workers, id, …}.
-- One server only: the queue, the leases, the workers, and keys of arq and of workers, whose names it makes of the ids.
-- Needs clock, leases.
local now = now_ms()
local dead = {}
local function is_dead(worker)
  if dead[worker] == nil then dead[worker] = disconnected(ARGV[2] .. worker, ARGV[3] .. worker) end
  return dead[worker]
end

local live = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], ms(now), '+inf')) do
  if not is_dead(worker) then live = live + 1 end
end
local found = { now, live }
for i = 4, #ARGV do
  if waits_for_worker(ARGV[i], ARGV[1] .. ARGV[i], now, is_dead) then found[#found + 1] = ARGV[i] end
end
return found
