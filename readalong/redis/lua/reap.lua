-- Frees the jobs of a worker that is dead: each waits at its old place in the queue, and wakes a worker.
-- KEYS[3] workers (sorted set), KEYS[4] the dead worker's sign of life, KEYS[5] its channel, KEYS[6] the channel of the
-- worker that asks, KEYS[7] wake list.
-- ARGV[1] the dead worker, ARGV[2] the run of Redis at which the asking one is subscribed, ARGV[3] prefix of arq's
-- in-progress keys, ARGV[4] the wake list's time to live (ms).
-- Returns the ids of its jobs; nil, and changes nothing, if it lives, or has left, or this server cannot tell.
-- One server only: the queue, the leases, the workers, and arq's keys, whose names it makes of the ids.
-- Needs clock, leases.
if redis.call('PUBSUB', 'NUMSUB', KEYS[6])[2] == 0 then return nil end
if not redis.call('ZSCORE', KEYS[3], ARGV[1]) or not disconnected(KEYS[4], KEYS[5], ARGV[2]) then return nil end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4])
local freed = {}
local taken = redis.call('ZRANGE', leases, 0, -1)
for first = 1, #taken, 1000 do
  local names = {}
  for i = first, math.min(first + 999, #taken) do names[#names + 1] = ARGV[3] .. taken[i] end
  for i, holder in ipairs(redis.call('MGET', unpack(names))) do
    local id = taken[first + i - 1]
    if holder == ARGV[1] and put_back(id, names[i]) then
      redis.call('RPUSH', KEYS[7], id)
      freed[#freed + 1] = id
    end
  end
end
if #freed > 0 then redis.call('PEXPIRE', KEYS[7], ARGV[4]) end
return freed
