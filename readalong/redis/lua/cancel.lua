-- Sets the flag, by Redis' clock; a queued job ends at once, the worker of a running one is nudged.
-- ARGV[1] who cancels (JSON), ARGV[2] retention (ms), ARGV[3] the schema that the caller knows, ARGV[4] control channel,
-- ARGV[5] job id, ARGV[6..] fields of the hash.
-- Returns {the status after it or 'gone', the values of the fields}. An ended job keeps its end.
-- Needs clock, dates, job.
local fields = redis.call('HMGET', job, 'status', 'schema')
local status = fields[1]
if not status then return { 'gone', false } end
if not TERMINAL[status] then
  local flag = '{"by":' .. ARGV[1] .. ',"at":"' .. rfc3339(now_ms()) .. '"}'
  -- The first who cancels is the one that the end names.
  local before = redis.pcall('GET', cancel)
  if type(before) == 'string' then
    flag = before
  else
    redis.call('SET', cancel, flag)
    -- The flag lives as long as the job.
    local ttl = redis.call('PTTL', job)
    if ttl > 0 then redis.call('PEXPIRE', cancel, ttl) end
  end
  -- A process writes nothing into a log whose schema it does not know.
  if status == 'queued' and fields[2] == ARGV[3] then
    cancel_queued(flag, ARGV[2])
    status = 'cancelled'
  elseif status == 'running' then
    -- With the flag in it, so that the worker need not ask.
    redis.call('PUBLISH', ARGV[4], cjson.encode({ look_at = ARGV[5], flag = utf8(flag) }))
  end
end
return { status, ARGV[6] and redis.call('HMGET', job, unpack(ARGV, 6)) or false }
