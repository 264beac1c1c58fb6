-- The queue's side of a submit: lists a job that is written, puts it into arq's queue and wakes one worker.
-- KEYS[1] queue, KEYS[2] arq's job, KEYS[3] wake list, KEYS[4] jobs, KEYS[5] open, KEYS[6] watched, KEYS[7] queued jobs,
-- KEYS[8] ids, KEYS[9] jobs of its model, if that is known.
-- ARGV[1] job id, ARGV[2] arq's description of the call, ARGV[3] its time to live (ms), ARGV[4] longest wake list,
-- ARGV[5] the job's time of creation (ms), ARGV[6] ms that it may go without a watcher, or 0 for any time,
-- ARGV[7] time to live of the watched jobs' set (ms), ARGV[8] that of a model's set (ms), ARGV[9] '1': only list it,
-- ARGV[10] what the names of the minutes' counts begin with.
-- Returns 1, or 0 if the job was in the queue already, or is only listed.
-- One server only: the queue and the lists of jobs.
-- Needs clock, stats.
local id, created = ARGV[1], ARGV[5]
-- One that is listed may have begun or ended since: it stays where it is.
if redis.call('ZADD', KEYS[4], 'NX', created, id) == 1 then
  redis.call('ZADD', KEYS[5], created, id)
  redis.call('ZADD', KEYS[7], created, id)
  redis.pcall('ZADD', KEYS[8], 0, id) -- only people search it, and the sweep mends it
  count_submit(ARGV[10])
  if KEYS[9] then
    redis.call('ZADD', KEYS[9], created, id)
    redis.call('PEXPIRE', KEYS[9], ARGV[8])
  end
  if ARGV[6] ~= '0' then
    redis.call('ZADD', KEYS[6], ms(now_ms() + ARGV[6]), id)
    redis.call('PEXPIRE', KEYS[6], ARGV[7])
  end
end
if ARGV[9] == '1' then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if redis.call('ZADD', KEYS[1], 'NX', ms(now_ms()), id) == 0 then return 0 end
redis.call('RPUSH', KEYS[3], id)
-- A wake-up is a hint. Without workers no wake-up is popped, and the list would grow for ever.
redis.call('LTRIM', KEYS[3], -tonumber(ARGV[4]), -1)
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return 1
