-- Moves keys of a wrong type aside, for a day: the person who put them there may want them back.
-- KEYS the keys. ARGV for each its right type and the name that it gets.
-- Returns for each that was moved its name and its type.
-- One server only: keys that all jobs share.
local moved = {}
for i, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= ARGV[2 * i - 1] then
    redis.call('RENAME', key, ARGV[2 * i])
    redis.call('PEXPIRE', ARGV[2 * i], 86400000)
    moved[#moved + 1] = key
    moved[#moved + 1] = found
  end
end
return moved
