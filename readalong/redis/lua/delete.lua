-- Deletes the record and the log, and tells the watchers. Leaves a mark in the cancel flag's place for a while: a copy of the
-- submit may come late, from a connection that was given up, and would make the job again; or one of the enqueue, and would
-- list it.
-- KEYS[5] the processes that watch it. ARGV[1] time for which that is kept out (ms), ARGV[2] the SHA-1 of its model's name, or
-- '' if that is not known, as when an erase is repeated that broke off: then it is what the mark says.
-- Returns that SHA-1, or ''.
-- Needs clock, erased, job.
local model = ARGV[2]
if model == '' then model = erased_model(redis.pcall('GET', cancel)) or '' end
if redis.call('EXISTS', job) == 1 then tell_erased() end
redis.call('DEL', job, events, cancel, KEYS[5]) -- first: a full Redis refuses the other before it
redis.call('SET', cancel, '{"by":"erase","model":"' .. model .. '"}', 'PX', ARGV[1])
redis.call('PUBLISH', live, 'erased')
return model
