-- Counts what happens, by the minute, for operators. Nothing depends on it: whatever a person has put there stops no job.

-- Milliseconds that a minute is kept, and that its jobs may have ended ago to be counted.
local KEPT_MS = 7200000
-- Times are counted in steps of a twentieth, so that a minute holds few numbers and tells its percentiles.
local STEP = math.log(1.05)

local function count(name, field, by)
  return redis.pcall('HINCRBY', name, field, by)
end

local function count_time(name, what, seconds)
  if type(seconds) ~= 'number' or not (seconds >= 0 and seconds < 1e6) then return end
  count(name, what .. ':' .. ms(math.floor(math.log(math.max(seconds * 1000, 1)) / STEP)), 1)
end

local function minute(prefix, at) return prefix .. ms(math.floor(at / 60000)) end

local function count_submit(prefix)
  local name = minute(prefix, now_ms())
  if count(name, 'submitted', 1) == 1 then redis.pcall('PEXPIRE', name, KEPT_MS) end
end

local function object(text)
  local ok, value = pcall(cjson.decode, text or '')
  return ok and type(value) == 'table' and value or {}
end

-- Counts the end of the job with this hash.
local function count_end(prefix, hash, status)
  local fields = redis.pcall('HMGET', hash, 'ended_at', 'attempt', 'metrics', 'error')
  local ended, now = tonumber(fields[1] or ''), now_ms()
  if not ended or not (ended > now - KEPT_MS and ended < now + 60000) then return end
  local name, metrics = minute(prefix, ended), object(fields[3])
  count(name, status, 1)
  local tokens = type(metrics.completion_tokens) == 'number' and metrics.completion_tokens or metrics.chunk_count
  if type(tokens) == 'number' and tokens > 0 and tokens < 1e9 then count(name, 'tokens', ms(tokens)) end
  count_time(name, 'first', metrics.time_to_first_token)
  if fields[2] ~= '0' then count_time(name, 'queue', metrics.queue_seconds) end
  local code = status == 'failed' and object(fields[4]).code
  if type(code) == 'string' and #code <= 40 and string.find(code, '^[%l_]+$') then count(name, 'error:' .. code, 1) end
  redis.pcall('PEXPIRE', name, KEPT_MS)
end
