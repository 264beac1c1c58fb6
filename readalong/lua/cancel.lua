-- Sets the flag; a queued job ends at once.
-- ARGV[1] flag (JSON), ARGV[2] retention (ms), ARGV[3] the schema that the caller knows.
-- Returns the status after it, or 'gone'. An ended job keeps its end.
local fields = redis.call('HMGET', job, 'status', 'schema')
local status = fields[1]
if not status then return 'gone' end
if ENDED[status] then return status end
-- The first who cancels is the one that the end names. The flag lives as long as the job.
if redis.call('SETNX', cancel, ARGV[1]) == 1 then
  local ttl = redis.call('PTTL', job)
  if ttl > 0 then redis.call('PEXPIRE', cancel, ttl) end
end
-- Whoever does not know a log's schema writes nothing into it.
if status == 'queued' and fields[2] == ARGV[3] then
  cancel_queued(redis.call('GET', cancel), ARGV[2])
  return 'cancelled'
end
return status
