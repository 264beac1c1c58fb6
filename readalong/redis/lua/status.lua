-- How readalong stands, for an operator. Reads only: a full Redis answers it too. The cost is the same however many jobs there
-- are: of the open ones, the oldest are looked at.
-- KEYS[1] queue, KEYS[2] leases, KEYS[3] workers (sorted sets), KEYS[4] open jobs, KEYS[5..9] the sets of the states,
-- KEYS[10..] where values of a wrong type are that shared keys had.
-- ARGV[1] prefix of arq's in-progress keys, ARGV[2] prefix of signs of life, ARGV[3] prefix of the workers' channels,
-- ARGV[4] and ARGV[5] what stands before and behind a job's id in the name of its hash, ARGV[6] what the name of its log ends
-- with, ARGV[7] how many open jobs are looked at, ARGV[8] how many waiting ones are weighed, ARGV[9] ms without an event from
-- which on a job's newest event is read.
-- Returns {ms since the epoch, waiting jobs, place of the first of them (ms) or nil, bytes of the weighed ones' requests, how
-- many were weighed, jobs of each state, {worker, ms until it counts as live, sign of life or '', 1 if it has no connection,
-- …}, the keys of KEYS[10..] that are there, {a row for each open job}}; a row: id, status, attempt, model, time of creation,
-- of its start, of its newest event (ms), worker (JSON), 1 if it waits for a worker, type and data of its newest event or '';
-- of a broken one {id, ''}.
-- One server only: all that jobs and workers share, jobs' hashes, and keys whose names it makes of their ids.
-- Needs clock, ids, leases.
local now = now_ms()
local function field(value) return value or '' end

local known, dead, workers = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES'), {}, {}
local function is_dead(worker)
  if dead[worker] == nil then dead[worker] = disconnected(ARGV[2] .. worker, ARGV[3] .. worker) end
  return dead[worker]
end
for i = 1, math.min(#known, 2000), 2 do
  local id = known[i]
  local sign = text(ARGV[2] .. id)
  if not sign then
    -- Its sign of life is over: its channel tells a process that stands still from one that has died.
    local counts = redis.pcall('PUBSUB', 'NUMSUB', ARGV[3] .. id)
    dead[id] = not counts.err and counts[2] == 0
  end
  for _, value in ipairs({ id, known[i + 1], field(sign), is_dead(id) and 1 or 0 }) do
    workers[#workers + 1] = value
  end
end

local function bytes(id)
  local size = redis.pcall('HSTRLEN', ARGV[4] .. id .. ARGV[5], 'request')
  -- A hash of another type is broken, and hurts its own job alone.
  return type(size) == 'number' and size or 0
end
local size, weighed = 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', ms(now), 'LIMIT', 0, ARGV[8])) do
  if is_id(id) then
    size, weighed = size + bytes(id), weighed + 1
  end
end

local function row(id)
  local name = ARGV[4] .. id .. ARGV[5]
  local fields = redis.pcall('HMGET', name, 'status', 'attempt', 'model', 'created_at', 'started_at', 'last_event_at', 'worker')
  if fields.err then return { id, '' } end
  if not fields[1] then return nil end -- it has expired
  local spoke = tonumber(fields[6] or fields[5] or fields[4] or '')
  if not spoke or not (spoke >= 0 and spoke <= 2 ^ 53) then return { id, '' } end
  local waits, kind, data = 0, '', ''
  if fields[1] == 'running' then
    if waits_for_worker(id, ARGV[1] .. id, now, is_dead) then waits = 1 end
    if now - spoke >= tonumber(ARGV[9]) then
      local newest = redis.pcall('XREVRANGE', name .. ARGV[6], '+', '-', 'COUNT', 1)
      if newest.err then return { id, '' } end
      local entry = newest[1] and newest[1][2] or {}
      kind = field(entry[2])
      -- All others may be megabytes.
      if kind == 'waiting' then data = field(entry[4]) end
    end
  end
  return { id, fields[1], field(fields[2]), field(fields[3]), field(fields[4]), field(fields[5]), ms(spoke),
    field(fields[7]), waits, kind, data }
end
local rows = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, tonumber(ARGV[7]) - 1)) do
  if is_id(id) then rows[#rows + 1] = row(id) end
end

local counts, aside = {}, {}
for i = 5, 9 do counts[#counts + 1] = redis.call('ZCARD', KEYS[i]) end
for i = 10, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then aside[#aside + 1] = KEYS[i] end
end
local first = redis.call('ZRANGEBYSCORE', queue, '-inf', ms(now), 'WITHSCORES', 'LIMIT', 0, 1)
return { now, redis.call('ZCOUNT', queue, '-inf', ms(now)), first[2] or false, size, weighed, counts, workers, aside, rows }
