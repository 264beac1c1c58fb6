-- Removes an entry that is recorded.
-- ARGV[1] its id.
-- Returns 1, or 0 if there is none.
-- Needs thread.
if not redis.call('ZSCORE', order, ARGV[1]) then return 0 end
forget(ARGV[1])
return 1
