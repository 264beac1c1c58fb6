-- A process has watchers of these jobs: none of them is an orphan yet.
-- KEYS[1] watched (sorted set), KEYS[2..] each job's watchers (sorted set).
-- ARGV[1] the first set's time to live (ms), ARGV[2] ms until which this holds, ARGV[3] ms that the process may stand still
-- after them, ARGV[4..] for each job its id, the ms that it may go without a watcher, and the process's name for this visit.
-- One server only: the set of presence and keys of many jobs.
-- Needs clock.
local now = now_ms()
local holds = ms(now + ARGV[2])
for i = 2, #KEYS do
  local at = 3 * (i - 2) + 4
  -- One that is not there has ended, is being cancelled, or is erased: nothing of it may come back.
  if redis.call('ZSCORE', KEYS[1], ARGV[at]) then
    redis.call('ZADD', KEYS[1], ms(now + ARGV[at + 1]), ARGV[at])
    redis.call('ZADD', KEYS[i], holds, ARGV[at + 2])
    redis.call('PEXPIRE', KEYS[i], ms(ARGV[2] + ARGV[3]))
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
