-- Forgets jobs.
-- KEYS[1] jobs, KEYS[2] open, KEYS[3] watched, KEYS[4..8] the sets of the states, KEYS[9] ids, KEYS[10] wake list, KEYS[11] the
-- jobs of their model, if that is known. ARGV their ids.
-- One server only: the lists of jobs.
for _, id in ipairs(ARGV) do
  for place = 1, 9 do redis.call('ZREM', KEYS[place], id) end
  redis.call('LREM', KEYS[10], 0, id)
  if KEYS[11] then redis.call('ZREM', KEYS[11], id) end
end
