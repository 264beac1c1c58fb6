-- Appends the last events, the terminal one at their end, and ends the job: the one end.
-- ARGV[1] fence, ARGV[2] number of the first event, ARGV[3] status, ARGV[4] retention (ms),
-- ARGV[5] n, then n fields and values of the hash, then type, data, …
-- Returns {verdict, last_seq, nil} as append does; a repeat after a lost reply is ok.
-- Needs clock, job.
local n = tonumber(ARGV[5])
local first, from = tonumber(ARGV[2]), 6 + 2 * n
local no, last, status = standing(ARGV[1])
if no == 'ended' and status == ARGV[3] and last == first + (#ARGV - from + 1) / 2 - 1 then no = 'ok' end
if no then return { no, last, false } end
if first > last + 1 then return { 'gap', last, false } end
from = from + 2 * (last + 1 - first)
-- The job would end with no terminal event, and its watchers would wait for ever.
if from > #ARGV then return redis.error_reply('ERR the log has no room for the end, at ' .. last .. ': its keys are broken') end
for i = 6, 4 + 2 * n, 2 do redis.call('HSET', job, ARGV[i], ARGV[i + 1]) end
last = write(last, ARGV, from, 'status', ARGV[3], 'ended_at', ms(now_ms()))
if not last then return { 'gone', 0, false } end
retire(ARGV[4])
return { 'ok', last, false }
