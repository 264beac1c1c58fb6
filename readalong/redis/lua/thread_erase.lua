-- Erases a thread.
-- Returns the ids of its jobs.
-- Needs thread.
local ids = redis.call('ZRANGE', jobs, 0, -1)
redis.call('DEL', unpack(KEYS))
return ids
