-- Takes up again a claim that Redis has lost: it came back with what it knew before.
-- ARGV[1] attempt, ARGV[2] fence, ARGV[3] worker (JSON), ARGV[4] number of the last event before the claim's own.
-- Its numbers get its epoch again: watchers who have seen them go on.
-- Returns {verdict, last_seq, nil} as append does, but gap instead of ok; a repeat after a lost reply changes nothing.
-- Needs clock, job.
local no, last = standing(ARGV[2])
if no and no ~= 'behind' then return { no, last, false } end
-- An older attempt, that the lost claim had fenced out, has written since: it bears these numbers now.
if no and last > tonumber(ARGV[4]) then return { 'fenced', last, false } end
redis.call('HSET', job, 'status', 'running', 'attempt', ARGV[1], 'fence', ARGV[2], 'worker', ARGV[3],
  'epochs', epochs_with(tonumber(ARGV[4]) + 1, epoch_of(string.match(ARGV[2], ':(.*)$') or '')))
redis.call('HSETNX', job, 'started_at', ms(now_ms()))
-- They are of the attempt before.
redis.call('HDEL', job, 'claim', 'handover', 'first_token_at')
return { 'gap', last, false }
