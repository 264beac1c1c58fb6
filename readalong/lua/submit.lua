-- Creates a job once. A repeat after a lost reply, or with the same id, changes nothing.
-- ARGV[1] time to live (ms), ARGV[2] data of the `queued` event, ARGV[3..] field, value, … of the hash.
-- Returns {created (1 or 0), the hash as a flat list}, which is empty for a job that was erased.
if redis.call('EXISTS', job) == 1 then
  return { 0, redis.call('HGETALL', job) }
end
if redis.call('EXISTS', cancel) == 1 then return { 0, {} } end
local fields = {}
for i = 3, #ARGV do fields[#fields + 1] = ARGV[i] end
write(0, { 'queued', ARGV[2] }, 1, 'status', 'queued', 'attempt', '0', 'lost', '0', unpack(fields))
redis.call('PEXPIRE', job, ARGV[1])
redis.call('PEXPIRE', events, ARGV[1])
return { 1, redis.call('HGETALL', job) }
