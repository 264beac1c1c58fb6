-- Lists a job: among all, among those that have not ended, and, if it ends when nobody watches it, among those.
-- KEYS[1] jobs, KEYS[2] open, KEYS[3] watched (sorted sets).
-- ARGV[1] job id, ARGV[2] its time of creation (ms), ARGV[3] ms that it may go without a watcher, or 0 for any time,
-- ARGV[4] time to live of the set of watched jobs (ms).
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
if ARGV[3] ~= '0' then
  redis.call('ZADD', KEYS[3], ms(now_ms() + ARGV[3]), ARGV[1])
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
end
