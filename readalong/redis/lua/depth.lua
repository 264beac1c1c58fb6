-- Redis' time, and how many jobs are due and not taken.
-- KEYS[1] queue (sorted set). Returns {ms since the epoch, jobs}.
-- Needs clock.
local now = now_ms()
return { now, redis.call('ZCOUNT', KEYS[1], '-inf', ms(now)) }
