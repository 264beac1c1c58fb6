-- How many jobs stand, in one command.
-- KEYS[1..] job hashes. Returns {status, attempt, deadline, schema, last_seq, epochs, thread_open} for each, nil for what it has not;
-- {''} for what is no hash.
-- One server only: keys of many jobs.
local found = {}
for i = 1, #KEYS do
  local fields = redis.pcall('HMGET', KEYS[i], 'status', 'attempt', 'deadline', 'schema', 'last_seq', 'epochs',
    'thread_open')
  found[i] = fields.err and { '', false, false, false, false, false, false } or fields
end
return found
