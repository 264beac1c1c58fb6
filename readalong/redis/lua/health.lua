-- What waits, for how long, and who is there to do it. Reads only: a full Redis answers it too.
-- KEYS[1] queue, KEYS[2] workers (sorted sets).
-- Returns {ms since the epoch, waiting jobs, place of the first of them (ms) or nil, ids of live workers}.
-- One server only: the queue and the workers.
-- Needs clock.
local now = now_ms()
local first = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms(now), 'WITHSCORES', 'LIMIT', 0, 1)
return {
  now,
  redis.call('ZCOUNT', KEYS[1], '-inf', ms(now)),
  first[2] or false,
  redis.call('ZRANGEBYSCORE', KEYS[2], ms(now), '+inf'),
}
