-- Offers a job to repeats of its submit until its answer is out.
-- KEYS[1] the list of offers. ARGV[1] the offer: job id, owner. ARGV[2] offers that are kept, ARGV[3] their time to live (ms).
redis.call('LREM', KEYS[1], 0, ARGV[1])
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
