-- Ends a job's turn, once: records its entries and its answer, or forgets them, and lets the next turn run.
-- ARGV[1] job id, ARGV[2] '1' to record, unless a later turn has rolled it back; '0' to forget what was said; 'gone' to forget the
-- turn itself, whose job is not there, ARGV[3] ms that a turn must have begun before,
-- ARGV[4] the thread's time to live (ms), ARGV[5] that while a turn runs, ARGV[6..] id, data of the answer's entries.
-- A waiting turn that ends is recorded when those before it are. A thread that no client named goes with the last of its jobs:
-- nothing leads to it any more.
-- Returns the job whose turn runs after it, or nil.
-- Needs clock, thread.
local id = ARGV[1]
local at = place(id)
local begun = tonumber(redis.call('ZSCORE', jobs, id) or 0)
if (at == 'run' or at == 'wait') and begun + tonumber(ARGV[3]) <= now_ms() and redis.call('HEXISTS', turns, 'over:' .. id) == 0 then
  local said = redis.call('HGET', turns, 'entries:' .. id) or ''
  local ids = {}
  for entry in string.gmatch(said, '%S+') do ids[#ids + 1] = entry end
  if ARGV[2] == '1' then
    for i = 6, #ARGV, 2 do
      put(ARGV[i], ARGV[i + 1])
      ids[#ids + 1] = ARGV[i]
    end
  else
    for _, entry in ipairs(ids) do forget(entry) end
    ids = {}
  end
  redis.call('HSET', turns, 'entries:' .. id, table.concat(ids, ' '), 'over:' .. id, '1')
  if ARGV[2] == 'gone' then redis.call('ZREM', jobs, id) end
end
if at == 'over' and ARGV[2] == 'gone' then
  redis.call('ZREM', jobs, id)
  redis.call('HDEL', turns, 'at:' .. id)
end

local running = redis.call('HGET', thread, 'running')
while running and redis.call('HEXISTS', turns, 'over:' .. running) == 1 do
  local said = redis.call('HGET', turns, 'entries:' .. running) or ''
  -- It may have been rolled back after its end, while it waited for those before it.
  local dropped = redis.call('HGET', turns, 'drop:' .. running) == 'rollback'
  if said ~= '' and not dropped and redis.call('HEXISTS', turns, 'whole:' .. running) == 1 then
    for _, old in ipairs(redis.call('ZRANGE', order, 0, -1)) do forget(old) end
  end
  for entry in string.gmatch(said, '%S+') do
    if dropped then forget(entry) else list(entry) end
  end
  if said ~= '' and not dropped then redis.call('HSET', thread, 'recorded', running) end
  if redis.call('ZSCORE', jobs, running) then
    -- How far the thread had come: a turn may follow this one when the thread has gone on.
    redis.call('HSET', turns, 'at:' .. running, redis.call('HGET', thread, 'seq') or '0')
  end
  redis.call('HDEL', turns, 'entries:' .. running, 'over:' .. running, 'drop:' .. running, 'whole:' .. running)
  running = redis.call('LPOP', waiting)
  if running then
    redis.call('HSET', thread, 'running', running)
  else
    redis.call('HDEL', thread, 'running')
  end
end
if ARGV[2] == 'gone' and not running and redis.call('ZCARD', jobs) == 0 and redis.call('HEXISTS', thread, 'ttl') == 1 then
  redis.call('DEL', unpack(KEYS))
else
  renew(ARGV[4], ARGV[5])
end
return running
