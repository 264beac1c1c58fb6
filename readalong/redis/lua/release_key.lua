-- Forgets an Idempotency-Key whose job is erased; by now it may be tied to another one.
-- KEYS[1] the tie: job id, digest, … ARGV[1] the erased job's id.
local tie = redis.pcall('GET', KEYS[1])
if type(tie) == 'string' and string.match(tie, '^%S+') == ARGV[1] then redis.call('DEL', KEYS[1]) end
