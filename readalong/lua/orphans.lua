-- Answers up to n jobs that have gone without a watcher for too long.
-- KEYS[1] watched (sorted set), KEYS[2] time before which nothing counts as an orphan (ms).
-- ARGV[1] ms that a job may go without a watcher, ARGV[2] ms that may pass between two looks, ARGV[3] n.
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
local now = now_ms()
-- Nobody looked for a while: Redis was away, or its clock leapt. Nobody could say either that he watches, so that all
-- jobs may be due at once; they get the whole time anew.
local from = tonumber(redis.call('GET', KEYS[2]))
if not from or from > now + ARGV[1] then from = now + ARGV[1] end
redis.call('SET', KEYS[2], ms(from), 'PX', ARGV[2])
if now < from then return {} end
local due = due_ids(KEYS[1], ms(now), tonumber(ARGV[3]))
for _, id in ipairs(due) do
  -- Not removed: whoever asked may die before he has cancelled it.
  redis.call('ZADD', KEYS[1], 'XX', ms(now + ARGV[1]), id)
end
return due
