-- Removes a finished job from the queue.
-- KEYS[3] the job's lease, KEYS[4] arq's job, KEYS[5] arq's retry counter.
-- ARGV[1] worker, ARGV[2] job id.
-- Returns 1, or 0 if another worker holds the lease: then nothing changes.
-- One server only: the queue, the leases and arq's keys.
-- Needs clock, leases.
if held_by_another(ARGV[2], KEYS[3], ARGV[1]) then return 0 end
put_back(ARGV[2], KEYS[3])
redis.call('ZREM', queue, ARGV[2])
redis.call('DEL', KEYS[4], KEYS[5])
return 1
