-- Appends and publishes, atomically and idempotently.
-- ARGV[1] fence, ARGV[2] number of the first event, ARGV[3] '1' to note the time, or how far it has come by then (JSON), to
-- note both; '0' to note nothing, ARGV[4..] type, data, …
-- Returns {verdict, last_seq, cancel flag or nil}; the verdicts: ok; gap (the log ends earlier than the writer thinks:
-- send again from last_seq + 1); behind (it has lost the claim too: restore, then likewise); fenced, ended, gone (stop).
-- Needs clock, job.
local no, last, _, first_token_at = standing(ARGV[1])
if no then return { no, last, false } end
local first = tonumber(ARGV[2])
if first > last + 1 then return { 'gap', last, false } end
-- What is in the log already is a repeat after a lost reply.
local from = 4 + 2 * (last + 1 - first)
if from <= #ARGV then
  -- Not each time: to ask for the time and to set it takes a seventh of all that an append takes.
  if ARGV[3] == '1' then
    last = write(last, ARGV, from, 'last_event_at', ms(now_ms()))
  elseif ARGV[3] ~= '0' then
    last = write(last, ARGV, from, 'last_event_at', ms(now_ms()), 'progress', ARGV[3])
  else
    last = write(last, ARGV, from)
  end
  if not last then return { 'gone', 0, false } end
  -- Once for each attempt: no other process knows it when its worker is lost.
  if not first_token_at and ARGV[#ARGV - 1] ~= 'waiting' then
    redis.call('HSET', job, 'first_token_at', ms(now_ms()))
  end
end
return { 'ok', last, redis.call('GET', cancel) }
