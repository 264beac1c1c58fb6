-- Stores the last attempt's part of an ended log in fewer entries: neighbouring pieces of text in one.
-- KEYS[5] the new stream, until it is whole and takes the place of the old one.
-- ARGV[1] fence, ARGV[2] number of its first event, ARGV[3] number of the log's last event,
-- ARGV[4..] entries: number, type, data, pieces, from; '' for one of the last two that it has not.
-- Returns 1, or 0 and changes nothing: the job has not ended so, or its log is compacted already, or not whole.
-- Needs clock, job.
local no, last = standing(ARGV[1])
if no ~= 'ended' or last ~= tonumber(ARGV[3]) then return 0 end
if redis.call('XLEN', events) ~= tonumber(ARGV[3]) then return 0 end
local ttl = redis.call('PTTL', events)
-- The old one stays until the new one is whole: nothing rolls a script back that breaks halfway.
local new = KEYS[5]
redis.call('DEL', new)
local before = redis.call('XRANGE', events, '-', string.format('%d-0', ARGV[2] - 1))
for _, entry in ipairs(before) do redis.call('XADD', new, entry[1], unpack(entry[2])) end
if ttl > 0 then redis.call('PEXPIRE', new, ttl) end
for i = 4, #ARGV, 5 do
  local entry = { 'type', ARGV[i + 1], 'data', ARGV[i + 2] }
  if ARGV[i + 3] ~= '' then entry[5], entry[6] = 'pieces', ARGV[i + 3] end
  if ARGV[i + 4] ~= '' then entry[7], entry[8] = 'from', ARGV[i + 4] end
  redis.call('XADD', new, ARGV[i] .. '-0', unpack(entry))
end
redis.call('RENAME', new, events)
return 1
