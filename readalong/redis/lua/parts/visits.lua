-- The visits of a job's watchers.

-- How many visits there are in this set. One whose time is over counts for `still` ms more if its process is subscribed to
-- its heartbeat: it lives, and does not get to its turns. `hubs` is what the names of these channels begin with.
local function visits(set, hubs, still)
  local now = now_ms()
  redis.call('ZREMRANGEBYSCORE', set, '-inf', ms(now - still))
  for _, visit in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', ms(now))) do
    local hub = string.match(visit, '^(%w+):%d+$')
    -- Where Redis does not allow the question, silence alone tells.
    local seen = hub and redis.pcall('PUBSUB', 'NUMSUB', hubs .. hub) or {}
    if (tonumber(seen[2]) or 0) == 0 then redis.call('ZREM', set, visit) end
  end
  return redis.call('ZCARD', set)
end

