-- Gives a lease back: the job is finished, or waits for another worker at its old place in the queue.
-- KEYS[3] lease, KEYS[4] arq's job, KEYS[5] arq's retry counter, KEYS[6] wake list.
-- ARGV[1] worker, ARGV[2] job id, ARGV[3] 'finished' or 'waits', ARGV[4] the wake list's time to live (ms).
-- Returns 1, or 0 if the lease is another's: then nothing changes.
local holder = text(KEYS[3])
-- Without a lease nobody holds it, whatever somebody has put there.
if holder and holder ~= ARGV[1] and redis.call('ZSCORE', leases, ARGV[2]) then return 0 end
local taken = put_back(ARGV[2], KEYS[3])
if ARGV[3] == 'finished' then
  redis.call('ZREM', queue, ARGV[2])
  redis.call('DEL', KEYS[4], KEYS[5])
elseif taken then
  redis.call('RPUSH', KEYS[6], ARGV[2])
  redis.call('PEXPIRE', KEYS[6], ARGV[4])
end
return 1
