-- The attempt gives the job back: the next claim goes on as a new attempt for this reason.
-- ARGV[1] fence, ARGV[2] reason, ARGV[3] '1' if it counts as a lost attempt, '0' if not (a deploy).
-- Returns {verdict, last_seq, nil} as append does.
-- Needs clock, job.
local no, last = standing(ARGV[1])
if no then return { no, last, false } end
-- A repeat after a lost reply must not count twice.
if redis.call('HSETNX', job, 'handover', ARGV[2]) == 1 and ARGV[3] == '1' then
  redis.call('HINCRBY', job, 'lost', 1)
end
return { 'ok', last, false }
