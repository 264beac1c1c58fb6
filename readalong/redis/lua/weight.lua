-- Lets one more job in, by the bytes of its request and of what it keeps of a request of the Responses API, if those of the
-- jobs that are due and not taken are below a limit.
-- KEYS[1] queue (sorted set), KEYS[2] what was found lately (string).
-- ARGV[1] ms for which that is known, ARGV[2] bytes that the caller has let in since it asked, ARGV[3] those of the job,
-- ARGV[4] the limit, ARGV[5] and ARGV[6] what stands before and behind a job's id in the name of its hash.
-- Returns the bytes before it.
-- To look at ten thousand jobs takes Redis milliseconds: once in that time for all processes. What comes meanwhile is added.
-- One server only: the queue and the hashes of its jobs, whose names it makes of their ids.
-- Needs clock, ids.
local function bytes(name)
  local size = redis.pcall('HSTRLEN', name, 'request')
  local given = type(size) == 'number' and redis.call('HSTRLEN', name, 'response_input') or 0
  return given == 0 and size or size + given + redis.call('HSTRLEN', name, 'response')
end
local sum
if redis.call('PTTL', KEYS[2]) > 0 then
  sum = redis.pcall('INCRBY', KEYS[2], ARGV[2])
end
if type(sum) ~= 'number' then
  sum = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms(now_ms()))) do
    -- A hash of another type is broken, and hurts its own job alone.
    local size = is_id(id) and bytes(ARGV[5] .. id .. ARGV[6])
    if type(size) == 'number' then sum = sum + size end
  end
  redis.call('SET', KEYS[2], ms(sum), 'PX', ARGV[1])
end
if sum < tonumber(ARGV[4]) then redis.call('INCRBY', KEYS[2], ARGV[3]) end
return sum
