-- The part of the scripts that give, renew and end leases.
-- KEYS[1] queue: waiting jobs by their place in it (ms). KEYS[2] leases: taken jobs by the end of their lease (ms).
local queue, leases = KEYS[1], KEYS[2]

-- A taken job stays in the queue, as arq's do, with this much on its score: behind all that wait, its place not forgotten.
local TAKEN = 1e14
-- Milliseconds beyond which no lease ends.
local LONGEST = 660000

-- The string, or nil if it is not there, or if a person put another type there.
local function text(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or nil
end

-- Notes that a worker was heard. Live ones are heard every third of a lease. If none was for half of one, Redis was away,
-- or its clock jumped, and no worker could renew: each lease begins anew, or jobs that run would be taken from their workers.
local function hear(heard, now, lease)
  if redis.call('SET', heard, '1', 'PX', ms(lease / 2), 'GET') then return end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', ms(now + lease))) do
    redis.call('ZADD', leases, ms(now + lease), id)
  end
end

-- The job's place in the queue and whether it is taken; nil if it is not in the queue. A score that no clock has given
-- counts as the first place: taken at such a one, the job would look as if it waited, and be taken again and again.
local function place(id)
  local score = tonumber(redis.call('ZSCORE', queue, id))
  if not score then return nil end
  local taken = score >= TAKEN
  if taken then score = score - TAKEN end
  if not (score >= 0 and score < TAKEN) then score = 0 end
  return score, taken
end

-- Lists the job among those that run, if it is listed among those that wait: its claim follows.
local function list_as_running(id, waiting, running)
  local created = redis.call('ZSCORE', waiting, id)
  if created then
    redis.call('ZREM', waiting, id)
    redis.call('ZADD', running, created, id)
  end
end

-- Puts the job under the worker's lease until `ends`. `lease_key` is arq's in-progress key, which lives for `ttl` ms.
local function hold(id, at, ends, lease_key, worker, ttl)
  redis.call('ZADD', queue, ms(TAKEN + at), id)
  redis.call('ZADD', leases, ms(ends), id)
  redis.call('SET', lease_key, worker, 'PX', ttl)
end

-- A taken job without a lease would belong to no worker for ever, once its worker is dead: Redis has dropped the set, by an
-- eviction or by hand. Each such job gets a lease anew.
local function lease_again(now, lease)
  local taken = redis.call('ZCOUNT', queue, ms(TAKEN), '+inf')
  if taken <= redis.call('ZCARD', leases) then return end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, ms(TAKEN), '+inf')) do
    redis.call('ZADD', leases, 'NX', ms(now + lease), id)
  end
end

-- Puts a taken job back at its place. Returns whether it was taken.
local function put_back(id, lease_key)
  redis.call('DEL', lease_key)
  redis.call('ZREM', leases, id)
  local at, taken = place(id)
  if taken then redis.call('ZADD', queue, ms(at), id) end
  return taken
end

-- Whether a worker, which has said in its sign of life that it is subscribed to its channel, is so no more: the kernel
-- closes a dead process's connections. `run`: only if it was subscribed at this run of Redis; after a restart or a
-- failover, live workers come back one after the other.
local function disconnected(life_key, channel, run)
  local life = redis.pcall('GET', life_key)
  if type(life) ~= 'string' then return false end
  local ok, said = pcall(cjson.decode, life)
  if not ok or type(said) ~= 'table' or type(said.connected_to) ~= 'string' then return false end
  if run and said.connected_to ~= run then return false end
  -- Not allowed, perhaps: then the lease alone tells.
  local counts = redis.pcall('PUBSUB', 'NUMSUB', channel)
  return not counts.err and counts[2] == 0
end
-- Whether another worker holds the job. A lease key without an entry among the leases was set by hand, and holds nothing.
local function held_by_another(id, lease_key, worker)
  local holder = text(lease_key)
  return holder and holder ~= worker and redis.call('ZSCORE', leases, id)
end

-- Whether a job that has begun waits for a worker: it was given back, its lease is over, or `is_dead` says so of its worker.
-- One that is not in the queue does not: it ends just now, or the sweep puts it back.
local function waits_for_worker(id, lease_key, now, is_dead)
  local at, taken = place(id)
  if not at then return false end
  local ends = tonumber(redis.call('ZSCORE', leases, id))
  if not taken or not ends or ends < now then return true end
  local holder = text(lease_key)
  return holder and is_dead(holder) or false
end
