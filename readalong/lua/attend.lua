-- Somebody watches these jobs: none of them is an orphan yet.
-- KEYS[1] watched (sorted set).
-- ARGV[1] ms that a job may go without a watcher, ARGV[2] the set's time to live (ms), ARGV[3..] job ids.
local due = ms(now_ms() + ARGV[1])
for i = 3, #ARGV do
  -- One that is not there has ended, or is being cancelled.
  redis.call('ZADD', KEYS[1], 'XX', due, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
