-- Renews the leases of a worker's jobs.
-- KEYS[1] queue (sorted set). ARGV[1] worker, ARGV[2] lease (ms), ARGV[3] prefix of arq's in-progress keys, ARGV[4..] ids.
-- Returns the ids whose lease is another's by now, or that left the queue.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local lost = {}
for i = 4, #ARGV do
  local lease = ARGV[3] .. ARGV[i]
  local holder = redis.call('GET', lease)
  -- A lease that ran out but that nobody took meanwhile is still ours to renew.
  if (holder == ARGV[1] or not holder) and redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', string.format('%d', now + ARGV[2]), ARGV[i])
    redis.call('SET', lease, ARGV[1], 'PX', ARGV[2])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
