-- Gives a lease back: the job is finished, or waits for another worker at its old place in the queue.
-- KEYS[1] queue (sorted set), KEYS[2] lease, KEYS[3] arq's job, KEYS[4] arq's retry counter, KEYS[5] wake list.
-- ARGV[1] worker, ARGV[2] job id, ARGV[3] 'finished' or the score to wait with, ARGV[4] the wake list's time to live (ms).
-- Returns 1, or 0 if the lease is another's: then nothing changes.
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if ARGV[3] == 'finished' then
  redis.call('ZREM', KEYS[1], ARGV[2])
  redis.call('DEL', KEYS[3], KEYS[4])
elseif redis.call('ZADD', KEYS[1], 'XX', 'CH', ARGV[3], ARGV[2]) == 1 then
  redis.call('RPUSH', KEYS[5], ARGV[2])
  redis.call('PEXPIRE', KEYS[5], ARGV[4])
end
return 1
