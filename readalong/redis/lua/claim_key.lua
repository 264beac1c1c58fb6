-- Ties an Idempotency-Key to a job and a body, unless it is tied.
-- KEYS[1] the tie. ARGV[1] job id, ARGV[2] digest of the body, ARGV[3] its time to live (ms).
-- Returns {what it is tied to, how long it lives on (ms)}, or nil if it was not. What no tie of ours could be is none.
-- Needs ids.
local tie = redis.pcall('GET', KEYS[1])
if type(tie) == 'string' then
  local id, rest = string.match(tie, '^(%S+) [%w_-]+(.*)$')
  if id and is_id(id) and (rest == '' or rest == ' written') then return { tie, redis.call('PTTL', KEYS[1]) } end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
return false
