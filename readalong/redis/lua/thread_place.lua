-- Where a job's turn stands, and renews the thread.
-- ARGV[1] job id, ARGV[2] the thread's time to live (ms), ARGV[3] that while a turn runs.
-- Returns {run, wait, over or nil, the job whose turn runs or nil, '' or why the turn is to end: interrupt, rollback}.
-- Needs thread.
renew(ARGV[2], ARGV[3])
return { place(ARGV[1]), redis.call('HGET', thread, 'running'), redis.call('HGET', turns, 'drop:' .. ARGV[1]) or '' }
