-- The job that a repeat of a submit stands for: the owner's oldest offer. It becomes the newest one, so that two repeats
-- of two submits get two jobs.
-- KEYS[1] the list of offers. ARGV[1] the owner.
-- Returns the job's id, or nil if the owner has no offer. What cannot be an id is none.
-- Needs ids.
for _, offer in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local id, owner = string.match(offer, '^(%S+) (%S+)$')
  if id and owner == ARGV[1] and is_id(id) then
    redis.call('LREM', KEYS[1], 1, offer)
    redis.call('RPUSH', KEYS[1], offer)
    return id
  end
end
return false
