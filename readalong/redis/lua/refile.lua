-- Puts jobs where their hashes say: among all, those that have not ended, those of their state, those of their model.
-- KEYS[1] jobs, KEYS[2] open, KEYS[3] watched, KEYS[4..8] the sets of the states, KEYS[9] ids, KEYS[10..] of each job its
-- hash and its cancel flag.
-- ARGV[1] what names of models' sets begin with, ARGV[2] a model's set's time to live (ms), ARGV[3] ms that a job may go
-- without a watcher, ARGV[4] time to live of the watched jobs' set (ms), ARGV[5] what the names of the minutes'
-- counts begin with, ARGV[6..] ids.
-- Returns those that have not ended and were in no list of such, each with its time of creation (ms).
-- One server only: the lists of jobs, the jobs' hashes, and the lists of models, whose names it makes.
-- Needs clock, erased, stats.
local STATES = { queued = 4, running = 5, done = 6, failed = 7, cancelled = 8 }

local strays = {}

local function is_at(set, id, at)
  -- Not a number where a person has put another type.
  return tonumber(redis.call('ZSCORE', set, id)) == at
end

-- `open`: its turn is not recorded in its thread. The sweep sees to jobs that have not ended, and to these.
local function refile(id, hash, status, at, model, grace, open)
  local mine, ended = STATES[status], status ~= 'queued' and status ~= 'running'
  if not is_at(KEYS[1], id, at) then redis.call('ZADD', KEYS[1], ms(at), id) end
  if not is_at(KEYS[mine], id, at) then
    for place = 4, 8 do
      if place ~= mine then redis.call('ZREM', KEYS[place], id) end
    end
    redis.call('ZADD', KEYS[mine], ms(at), id)
    -- Once: the list that it stands in now says that it was counted.
    if ended then count_end(ARGV[5], hash, status) end
  end
  if ended and not open then
    redis.call('ZREM', KEYS[2], id)
  elseif not is_at(KEYS[2], id, at) and redis.call('ZADD', KEYS[2], ms(at), id) == 1 then
    strays[#strays + 1] = id
    strays[#strays + 1] = ms(at)
    if grace then
      redis.call('ZADD', KEYS[3], 'NX', ms(now_ms() + ARGV[3] + grace), id)
      redis.call('PEXPIRE', KEYS[3], ARGV[4])
    end
  end
  redis.call('ZADD', KEYS[9], 'NX', 0, id)
  local set = ARGV[1] .. redis.sha1hex(model)
  local there = redis.pcall('ZSCORE', set, id)
  if type(there) == 'table' then
    redis.call('DEL', set)
    there = false
  end
  if tonumber(there) ~= at then
    redis.call('ZADD', set, ms(at), id)
    redis.call('PEXPIRE', set, ARGV[2])
  end
end

for i = 6, #ARGV do
  local id = ARGV[i]
  local hash, flag = KEYS[2 * i - 2], KEYS[2 * i - 1]
  local fields = redis.pcall('HMGET', hash, 'status', 'created_at', 'model', 'cancel_on_disconnect',
    'disconnect_grace', 'thread_open')
  -- A broken hash hurts its own job alone: that one stays where it is.
  if not fields.err then
    local at = math.floor(tonumber(fields[2]) or -1)
    if not fields[1] then
      -- Expired: the list goes on naming it for a while. Or erased, and a late copy of its enqueue has listed it again, or the
      -- erase broke off: its model's list is known by the mark alone.
      local erased = erased_model(redis.pcall('GET', flag))
      for place = erased and 1 or 2, 9 do redis.call('ZREM', KEYS[place], id) end
      if erased then redis.pcall('ZREM', ARGV[1] .. erased, id) end
    elseif STATES[fields[1]] and at >= 0 and at <= 2 ^ 53 then
      local grace = math.min(math.max(tonumber(fields[5] or '') or 0, 0), 86400000)
      refile(id, hash, fields[1], at, fields[3] or '', fields[4] == '1' and grace, fields[6])
    end
  end
end
return strays
