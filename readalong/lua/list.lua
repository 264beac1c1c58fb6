-- Lists a job: among all, and among those that have not ended.
-- KEYS[1] jobs, KEYS[2] open (sorted sets). ARGV[1] job id, ARGV[2] its time of creation (ms).
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
