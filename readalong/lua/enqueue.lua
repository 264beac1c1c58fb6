-- Puts a job into arq's queue and wakes one worker.
-- KEYS[1] queue (sorted set), KEYS[2] arq's job, KEYS[3] wake list.
-- ARGV[1] job id, ARGV[2] arq's description of the call, ARGV[3] its time to live (ms), ARGV[4] longest wake list.
-- Returns 1, or 0 if the job was in the queue already.
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local added = redis.call('ZADD', KEYS[1], 'NX', ms(now_ms()), ARGV[1])
if added == 1 then
  redis.call('RPUSH', KEYS[3], ARGV[1])
  -- A wake-up is a hint. Without workers nobody pops, so the list must not grow for ever.
  redis.call('LTRIM', KEYS[3], -tonumber(ARGV[4]), -1)
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
end
return added
