-- Renews the time to live of jobs that wait or run. What has ended lives for its retention: it may have done so just now.
-- KEYS of each its hash, events and cancel flag. ARGV[1] time to live (ms).
-- Returns for each 1, or 0 if its hash is gone.
-- One server only: keys of many jobs.
local there = {}
for i = 1, #KEYS, 3 do
  -- Another type than a hash is not gone: its key is broken, which does not matter to the other jobs.
  local status = redis.pcall('HGET', KEYS[i], 'status')
  there[#there + 1] = status and 1 or 0
  if status == 'queued' or status == 'running' then
    for j = i, i + 2 do redis.call('PEXPIRE', KEYS[j], ARGV[1]) end
  end
end
return there
