-- Takes jobs that have ended, or are gone, out of those that have not.
-- KEYS[1] open (sorted set), KEYS[2..] job hashes. ARGV their ids.
for i, id in ipairs(ARGV) do
  local status = redis.call('HGET', KEYS[i + 1], 'status')
  -- A Redis that came back without a job's end wants it run again: the sweep must find it.
  if status ~= 'queued' and status ~= 'running' then redis.call('ZREM', KEYS[1], id) end
end
