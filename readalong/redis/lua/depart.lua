-- The last watcher that a process had of these jobs is gone. A job without any other begins its grace.
-- KEYS[1] watched (sorted set), KEYS[2..] each job's watchers (sorted set).
-- ARGV[1] what the channels of hubs begin with, ARGV[2] ms that one may stand still, ARGV[3..] for each job its id, the ms of
-- its grace, and the process's name for the visit that is over: a copy of this call that comes late does not end the next one.
-- One server only: the set of presence and keys of many jobs.
-- Needs clock, visits.
local now = now_ms()
for i = 2, #KEYS do
  local at = 3 * (i - 1)
  redis.call('ZREM', KEYS[i], ARGV[at + 2])
  -- Those of a process that was killed, and could not say so, do not count.
  if visits(KEYS[i], ARGV[1], ARGV[2]) == 0 then
    redis.call('ZADD', KEYS[1], 'XX', ms(now + ARGV[at + 1]), ARGV[at])
  end
end
