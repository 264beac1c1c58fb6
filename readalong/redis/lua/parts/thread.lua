-- The part of every script that works on one thread.
-- KEYS[1] thread hash, KEYS[2] order: ids of its entries by their place, KEYS[3] entries by id, KEYS[4] turns that have not
-- been recorded, KEYS[5] waiting turns, KEYS[6] jobs by time: one hash tag, one slot.
-- A turn's entries stand among the entries from its beginning on, and in the order once the turn is recorded.
local thread, order, entries, turns, waiting, jobs = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]

-- Creates the thread with this name and time, unless it is there.
local function create(name, at)
  redis.call('HSETNX', thread, 'id', name)
  redis.call('HSETNX', thread, 'created_at', at)
end

-- Where the job's turn stands: run, wait, over; false if the thread does not know it.
local function place(id)
  if redis.call('HGET', thread, 'running') == id then return 'run' end
  if redis.call('LPOS', waiting, id) then return 'wait' end
  return redis.call('ZSCORE', jobs, id) and 'over' or false
end

-- The turns that have not been recorded, the running one first.
local function unfinished()
  local running = redis.call('HGET', thread, 'running')
  if not running then return {} end
  local ids = redis.call('LRANGE', waiting, 0, -1)
  table.insert(ids, 1, running)
  return ids
end

-- Stores an entry, not yet in the order.
local function put(id, data)
  if redis.call('HSETNX', entries, id, data) == 1 then redis.call('HINCRBY', thread, 'bytes', #data) end
end

-- Puts a stored entry behind all others.
local function list(id)
  redis.call('ZADD', order, 'NX', redis.call('HINCRBY', thread, 'seq', 1), id)
end

local function forget(id)
  local size = redis.call('HSTRLEN', entries, id)
  redis.call('HDEL', entries, id)
  redis.call('ZREM', order, id)
  redis.call('HINCRBY', thread, 'bytes', -size)
end

-- Why the id, data pairs of ARGV from index `from` on cannot be stored: the limit, or the id that there is already. nil: they
-- can. `whole`: they come in place of what is there.
local function refused(from, most_entries, most_bytes, whole)
  local count, size, taken = redis.call('HLEN', entries), tonumber(redis.call('HGET', thread, 'bytes') or 0), nil
  if whole then count, size = 0, 0 end
  for i = from, #ARGV, 2 do
    if redis.call('HEXISTS', entries, ARGV[i]) == 1 then
      taken = taken or { 'taken', ARGV[i] }
    else
      count, size = count + 1, size + #ARGV[i + 1]
    end
  end
  if count > tonumber(most_entries) then return { 'full', 'entries' } end
  if size > tonumber(most_bytes) then return { 'full', 'bytes' } end
  return taken
end

-- The thread lives for `idle` ms from here on, or for its own time; while turns are not recorded for `busy` ms.
local function renew(idle, busy)
  local ttl = redis.call('HEXISTS', thread, 'running') == 1 and busy or redis.call('HGET', thread, 'ttl') or idle
  for i = 1, 6 do redis.call('PEXPIRE', KEYS[i], ttl) end
end
