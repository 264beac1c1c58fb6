-- Replaces a job's metadata.
-- ARGV[1] the metadata as JSON.
-- Returns 1, or 0 if there is no job.
-- Needs job.
if redis.call('EXISTS', job) == 0 then return 0 end
redis.call('HSET', job, 'metadata', ARGV[1])
return 1
