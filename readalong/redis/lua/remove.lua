-- Forgets jobs.
-- KEYS[1] jobs, KEYS[2] open, KEYS[3] watched, KEYS[4..8] the sets of the states, KEYS[9] wake list, KEYS[10] the jobs of their
-- model, if that is known. ARGV their ids.
-- One server only: the lists of jobs.
for _, id in ipairs(ARGV) do
  for place = 1, 8 do redis.call('ZREM', KEYS[place], id) end
  redis.call('LREM', KEYS[9], 0, id)
  if KEYS[10] then redis.call('ZREM', KEYS[10], id) end
end
