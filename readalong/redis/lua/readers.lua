-- How many streams read along, over all processes: each says how many it has.
-- KEYS of each job its readers (hash): processes, each with its count and until when that holds (ms).
-- ARGV[1] the process, ARGV[2] ms that its counts hold, ARGV[3..] its count for each job.
-- Returns the sum for each job.
-- One server only: keys of many jobs.
-- Needs clock.
local now, sums = now_ms(), {}
for i = 1, #KEYS do
  local name, count = KEYS[i], ARGV[2 + i]
  redis.pcall('HSET', name, ARGV[1], count .. ' ' .. ms(now + ARGV[2]))
  if count == '0' then redis.pcall('HDEL', name, ARGV[1]) end
  local sum, said = 0, redis.pcall('HGETALL', name)
  -- A person put another type there: it is gone with the next call.
  if said.err then
    redis.call('DEL', name)
    said = {}
  end
  for j = 1, #said, 2 do
    local streams, ends = string.match(said[j + 1], '^(%d+) (%d+)$')
    if streams and #streams < 8 and tonumber(ends) > now then
      sum = sum + tonumber(streams)
    else
      redis.call('HDEL', name, said[j])
    end
  end
  redis.call('PEXPIRE', name, ARGV[2])
  sums[i] = sum
end
return sums
