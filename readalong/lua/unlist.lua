-- Forgets jobs that are not there: never written, or expired. One that was listed anew meanwhile is being submitted again.
-- KEYS[1] open (sorted set). ARGV job id, the score that it had, …
for i = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) == tonumber(ARGV[i + 1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
