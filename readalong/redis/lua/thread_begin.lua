-- Begins a job's turn, once, and decides about a turn that has not ended. Before the job is written.
-- ARGV[1] job id, ARGV[2] policy, ARGV[3] the job that it follows, or '', ARGV[4] the thread's name, ARGV[5] the thread's time to
-- live (ms), ARGV[6] that while a turn runs, ARGV[7] most entries, ARGV[8] most bytes, ARGV[9] most waiting turns,
-- ARGV[10] ms after which an ended job is forgotten, ARGV[11] time to live of a thread that no client named (ms), or '',
-- ARGV[12] '1' if the turn's entries are all that the thread is to have, or '',
-- ARGV[13..] id, data of the turn's entries.
-- Returns {verdict, time of the turn (ms) or what is meant, jobs to cancel …}; the verdicts: run, wait: it has begun so, or had
-- before; over: it had, and has ended; busy: refused, for the turn of the job that follows; fork: the thread has gone on since
-- the job that it follows; full: beyond the limit that follows; taken: the thread has the entry that follows.
-- Needs clock, thread.
local id, policy, parent = ARGV[1], ARGV[2], ARGV[3]
local now = now_ms()
local running = redis.call('HGET', thread, 'running')
local at = place(id)
if not at then
  local newest = redis.call('LINDEX', waiting, -1) or running or redis.call('HGET', thread, 'recorded')
  if parent ~= '' and newest ~= parent then return { 'fork', '' } end
  if running and policy == 'reject' then return { 'busy', running } end
  if redis.call('LLEN', waiting) >= tonumber(ARGV[9]) then return { 'full', 'turns' } end
  local why = refused(13, ARGV[7], ARGV[8], ARGV[12] == '1')
  if why then return why end

  if running and policy ~= 'enqueue' then
    for _, other in ipairs(unfinished()) do
      -- A turn that is forgotten stays forgotten.
      if redis.call('HGET', turns, 'drop:' .. other) ~= 'rollback' then
        redis.call('HSET', turns, 'drop:' .. other, policy)
      end
    end
  end
  create(ARGV[4], ms(now))
  if ARGV[11] ~= '' then redis.call('HSET', thread, 'ttl', ARGV[11]) end
  local ids = {}
  for i = 13, #ARGV, 2 do
    put(ARGV[i], ARGV[i + 1])
    ids[#ids + 1] = ARGV[i]
  end
  redis.call('HSET', turns, 'entries:' .. id, table.concat(ids, ' '))
  if ARGV[12] == '1' then redis.call('HSET', turns, 'whole:' .. id, '1') end
  redis.call('ZADD', jobs, ms(now), id)
  if running then
    redis.call('RPUSH', waiting, id)
    at = 'wait'
  else
    redis.call('HSET', thread, 'running', id)
    at = 'run'
  end
  -- Those whose records are gone: the list would grow as long as the thread lives.
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', jobs, '-inf', ms(now - ARGV[10]), 'LIMIT', 0, 100)) do
    if place(old) == 'over' then
      redis.call('ZREM', jobs, old)
      redis.call('HDEL', turns, 'at:' .. old)
    end
  end
end
renew(ARGV[5], ARGV[6])
local reply = { at, redis.call('ZSCORE', jobs, id) }
-- Also to a repeat: the first reply may be lost, and no job cancelled.
if at == 'wait' then
  for _, other in ipairs(unfinished()) do
    if other == id then break end
    if redis.call('HEXISTS', turns, 'drop:' .. other) == 1 then reply[#reply + 1] = other end
  end
end
return reply
