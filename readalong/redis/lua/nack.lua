-- Puts a leased job back at its place in the queue, and wakes a worker.
-- KEYS[3] the job's lease, KEYS[4] wake list.
-- ARGV[1] worker, ARGV[2] job id, ARGV[3] the wake list's time to live (ms).
-- Returns 1, or 0 if another worker holds the lease: then nothing changes.
-- One server only: the queue, the leases and an arq key.
-- Needs clock, leases.
if held_by_another(ARGV[2], KEYS[3], ARGV[1]) then return 0 end
if put_back(ARGV[2], KEYS[3]) then
  redis.call('RPUSH', KEYS[4], ARGV[2])
  redis.call('PEXPIRE', KEYS[4], ARGV[3])
end
return 1
