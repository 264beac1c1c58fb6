-- Creates a job once. A repeat after a lost reply, or with the same id, changes nothing.
-- ARGV[1] time to live (ms), ARGV[2] time of creation (ms), or 0 for Redis' own, ARGV[3] ms from then to the deadline, or 0,
-- ARGV[4] data of the `queued` event up to its `created_at`, ARGV[5..] field, value, … of the hash.
-- Returns the time of creation (ms); 0 if the job exists; -1 if it was erased.
-- Needs clock, dates, job.
if redis.call('EXISTS', job) == 1 then return 0 end
if redis.call('EXISTS', cancel) == 1 then return -1 end
local at = tonumber(ARGV[2])
if at == 0 then at = now_ms() end
local fields = { 'created_at', ms(at), unpack(ARGV, 5) }
if ARGV[3] ~= '0' then
  fields[#fields + 1] = 'deadline'
  fields[#fields + 1] = ms(at + ARGV[3])
end
local data = ARGV[4] .. ',"created_at":"' .. rfc3339(at) .. '"}'
write(0, { 'queued', data }, 1, 'status', 'queued', 'attempt', '0', 'lost', '0', unpack(fields))
redis.call('PEXPIRE', job, ARGV[1])
redis.call('PEXPIRE', events, ARGV[1])
return at
