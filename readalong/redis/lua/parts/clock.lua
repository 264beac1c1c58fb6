-- The clock of Redis.
-- Redis' own clock decides about order and times: a worker's or an API's may be wrong.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A time as Redis takes it: Lua would write a long number with an exponent.
local function ms(number)
  return string.format('%d', number)
end

