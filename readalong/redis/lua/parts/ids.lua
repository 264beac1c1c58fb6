-- Ids from a sorted set into which a person may have put anything.

-- Whether it may be the id of a job: a part of a key's name must never be anything else.
local function is_id(id)
  return #id >= 16 and #id <= 64 and not string.find(id, '[^%w_-]')
end

-- Up to n ids of the sorted set with scores up to `highest`. What cannot be one is removed, lest it hides those behind it.
local function due_ids(set, highest, n)
  local found, size = {}, n
  for _ = 1, 10 do
    local clean = true
    found = {}
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', highest, 'LIMIT', 0, size)) do
      if not is_id(id) then
        redis.call('ZREM', set, id)
        clean = false
      elseif #found < n then
        found[#found + 1] = id
      end
    end
    if clean or #found == n then break end
    size = math.max(n, 100)
  end
  return found
end

