-- Returns up to n jobs that have gone without a watcher for too long.
-- KEYS[1] watched (sorted set), KEYS[2] time before which nothing counts as an orphan (ms).
-- ARGV[1] ms that a job may go without a watcher, ARGV[2] ms that may pass between two looks, ARGV[3] n, ARGV[4] what the
-- channels of hubs begin with, ARGV[5] ms that a hub may stand still, ARGV[6] and ARGV[7] what stands before and behind a
-- job's id in the name of its watchers.
-- One server only: the set of presence and keys of many jobs, whose names it makes of their ids.
-- Needs clock, ids, visits.
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
local now = now_ms()
-- No worker looked for a while: Redis was away, or its clock leapt. No API could report a watcher either, so that all
-- jobs may be due at once; they get the whole time anew.
local from = tonumber(redis.call('GET', KEYS[2]))
if not from or from > now + ARGV[1] then from = now + ARGV[1] end
redis.call('SET', KEYS[2], ms(from), 'PX', ARGV[2])
if now < from then return {} end
local found, n = {}, tonumber(ARGV[3])
-- Those of processes that stand still must not hide the others for long.
for _ = 1, 10 do
  local due = due_ids(KEYS[1], ms(now), n)
  for _, id in ipairs(due) do
    -- Not removed: the caller may die before it has cancelled the job.
    redis.call('ZADD', KEYS[1], 'XX', ms(now + ARGV[1]), id)
    if visits(ARGV[6] .. id .. ARGV[7], ARGV[4], ARGV[5]) == 0 then found[#found + 1] = id end
  end
  if #found > 0 or #due < n then break end
end
return found
