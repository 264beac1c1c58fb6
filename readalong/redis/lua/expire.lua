-- Ends a queued job whose deadline has passed.
-- ARGV[1] retention (ms).
-- Returns 1, or 0 and changes nothing.
-- Needs clock, job.
local fields = redis.call('HMGET', job, 'status', 'deadline')
if fields[1] ~= 'queued' or not fields[2] or now_ms() < tonumber(fields[2]) then return 0 end
fail_queued(ARGV[1])
return 1
