-- Ends the offer of a job to repeats of its submit.
-- KEYS[1] the list of offers. ARGV[1] the job's id.
for _, offer in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if string.match(offer, '^%S+') == ARGV[1] then redis.call('LREM', KEYS[1], 0, offer) end
end
