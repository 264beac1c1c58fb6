-- Redis' time, and how many jobs are due and not taken.
-- KEYS[1] queue (sorted set). Returns {ms since the epoch, jobs}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return { now, redis.call('ZCOUNT', KEYS[1], '-inf', string.format('%d', now)) }
