-- Takes up to n due jobs, each under a lease. The score of a taken job is the end of its lease, so that the scan sees
-- only what is due: never the jobs that run elsewhere, and those of a dead worker as soon as its leases are over.
-- KEYS[1] queue (sorted set). ARGV[1] worker, ARGV[2] lease (ms), ARGV[3] n, ARGV[4] prefix of arq's in-progress keys.
-- Returns {id, score, id, score, …} with the scores before, oldest first.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now), 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #due, 2 do
  redis.call('ZADD', KEYS[1], 'XX', string.format('%d', now + ARGV[2]), due[i])
  redis.call('SET', ARGV[4] .. due[i], ARGV[1], 'PX', ARGV[2])
end
return due
