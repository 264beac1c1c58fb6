-- Deletes the record and the log, and leaves a cancel flag for a while: a copy of the submit may come late, from a
-- connection that was given up, and would make the job again.
-- KEYS[5] the processes that watch it. ARGV[1] time for which that is kept out (ms).
redis.call('DEL', job, events, cancel, KEYS[5]) -- first: a full Redis refuses the other before it
redis.call('SET', cancel, '{"by":"erase"}', 'PX', ARGV[1])
