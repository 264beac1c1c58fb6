-- Creates a thread, or adds entries to one. A repeat changes nothing.
-- ARGV[1] the thread's name, or '' for one that must be there, ARGV[2] its metadata (JSON), or '' to leave them, ARGV[3] its
-- time to live (ms), ARGV[4] that while a turn runs, ARGV[5] most entries, ARGV[6] most bytes, ARGV[7..] id, data of entries.
-- Returns {ok}, {gone}, {full, the limit}, {taken, the id of an entry that there is already, with other data}.
-- Needs clock, thread.
if redis.call('EXISTS', thread) == 0 and ARGV[1] == '' then return { 'gone' } end
local why = refused(7, ARGV[5], ARGV[6])
if why and why[1] == 'taken' then
  -- A repeat after a lost reply has all of them.
  for i = 7, #ARGV, 2 do
    if redis.call('HGET', entries, ARGV[i]) ~= ARGV[i + 1] then return why end
  end
elseif why then
  return why
end
if ARGV[1] ~= '' then create(ARGV[1], ms(now_ms())) end
if ARGV[2] ~= '' then redis.call('HSET', thread, 'metadata', ARGV[2]) end
for i = 7, #ARGV, 2 do
  put(ARGV[i], ARGV[i + 1])
  if not redis.call('ZSCORE', order, ARGV[i]) then list(ARGV[i]) end
end
renew(ARGV[3], ARGV[4])
return { 'ok' }
