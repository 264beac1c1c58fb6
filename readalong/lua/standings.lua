-- How many jobs stand, in one command.
-- KEYS[1..] job hashes. Returns {status, attempt, deadline, schema, last_seq, epochs} for each, nil for what it has not.
local found = {}
for i = 1, #KEYS do
  found[i] = redis.call('HMGET', KEYS[i], 'status', 'attempt', 'deadline', 'schema', 'last_seq', 'epochs')
end
return found
