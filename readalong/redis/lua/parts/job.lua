-- The part of every script that works on one job's log.
-- KEYS[1] job hash, KEYS[2] events stream, KEYS[3] cancel flag, KEYS[4] live channel: one hash tag, one slot.
local job, events, cancel, live = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local TERMINAL = { done = true, failed = true, cancelled = true }

-- The text, with '?' for each byte beyond ASCII if it is not UTF-8: such JSON in a log could not be read.
local function utf8(text)
  local rest = string.gsub(text, '[\194-\223][\128-\191]', ' ')
  rest = string.gsub(rest, '\224[\160-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '[\225-\236\238\239][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '\237[\128-\159][\128-\191]', ' ')
  rest = string.gsub(rest, '\240[\144-\191][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '[\241-\243][\128-\191][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '\244[\128-\143][\128-\191][\128-\191]', ' ')
  if not string.find(rest, '[\128-\255]') then return text end
  return (string.gsub(text, '[\128-\255]', '?'))
end

-- Tells operators of a change, on a channel that all jobs share. Nothing depends on it, so that a user of Redis who may not
-- publish there can still run jobs.
local function tell(kind, more)
  local prefix, id = string.match(live, '^(.*):job:{(.-)}')
  redis.pcall('PUBLISH', prefix .. ':changes', '{"id":"' .. id .. '","type":"' .. kind .. '"' .. (more or '') .. '}')
end

-- The same before a job is deleted: nothing could be read of it afterwards.
local function tell_erased()
  -- What tells who may see the job.
  local names = { 'schema', 'id', 'status', 'model', 'attempt', 'last_seq', 'created_at', 'metadata', 'body_digest', 'thread',
    'thread_digest', 'policy_keys' }
  local values, shown = redis.pcall('HMGET', job, unpack(names)), {}
  for i, name in ipairs(names) do
    if values[i] then shown[name] = utf8(values[i]) end
  end
  tell('erased', ',"job":' .. cjson.encode(shown))
end

-- Appends the type/data pairs of `pairs_` from index `from` on after number `last`, sets the fields and values of the
-- hash that follow, tells the watchers in one message, and returns the new last number.
-- The events come first: nothing rolls a script back whose XADD is refused, and a job that had ended without its
-- terminal event would leave its watchers waiting for ever.
-- Returns nil if Redis has dropped the log, by an eviction or by hand: the job is gone then. A log that went on without
-- its beginning could be read by no watcher.
local function write(last, pairs_, from, ...)
  local lines, changed = {}, nil
  local begins = last == 0
  for i = from, #pairs_, 2 do
    last = last + 1
    local kind, data = pairs_[i], pairs_[i + 1]
    local id = string.format('%d-0', last)
    if begins then
      redis.call('XADD', events, id, 'type', kind, 'data', data)
    elseif not redis.call('XADD', events, 'NOMKSTREAM', id, 'type', kind, 'data', data) then
      tell_erased()
      redis.call('DEL', job)
      redis.call('PUBLISH', live, 'erased')
      return nil
    end
    -- Not by a table: it would be made anew for each token.
    if TERMINAL[kind] or kind == 'queued' or kind == 'started' or kind == 'restarted' then changed = kind end
    lines[#lines + 1] = string.format('{"seq":%d,"type":"', last) .. kind .. '",' .. string.sub(data, 2)
  end
  if #lines > 0 then
    redis.call('HSET', job, 'last_seq', string.format('%d', last), ...)
    redis.call('PUBLISH', live, table.concat(lines, '\n'))
    if changed then tell(changed) end
  end
  return last
end

-- The epoch of what a claim writes.
local function epoch_of(token) return string.sub(token, 1, 6) end

-- The value of the field `epochs`, `<first number>:<epoch> …`, with numbers from `first` on of this epoch.
local function epochs_with(first, epoch)
  local kept = {}
  for at, name in string.gmatch(redis.call('HGET', job, 'epochs') or '', '(%d+):(%S+)') do
    if tonumber(at) < first then kept[#kept + 1] = at .. ':' .. name end
  end
  kept[#kept + 1] = string.format('%d:', first) .. epoch
  return table.concat(kept, ' ')
end

-- The job has ended: what Redis holds of it lives for the retention from here on. It does not run again: its request, which
-- may be megabytes, goes at once unless it is to be kept.
local function retire(retention_ms)
  if redis.call('HGET', job, 'keep_request') ~= '1' then redis.call('HDEL', job, 'request') end
  redis.call('PEXPIRE', job, retention_ms)
  redis.call('PEXPIRE', events, retention_ms)
  redis.call('PEXPIRE', cancel, retention_ms)
end

-- Who set the flag: the `by` of the API's JSON, or whatever a person typed in redis-cli.
local function who(flag)
  local ok, value = pcall(cjson.decode, flag)
  if ok and type(value) == 'table' and type(value.by) == 'string' then
    return utf8(value.by)
  end
  return utf8(flag)
end

-- Ends a job that never ran. `how` is a field of its terminal event, as JSON: `"by":…` or `"error":…`.
-- No claim writes it, so its epoch is made of the time: `0` and six digits for its microsecond. When Redis loses this end and
-- the job ends once more, the same id would else name two ends.
local function end_queued(status, how, retention_ms)
  local fields = redis.call('HMGET', job, 'last_seq', 'created_at')
  local now = now_ms()
  local waited = (now - tonumber(fields[2])) / 1000
  local metrics = string.format(
    '{"queue_seconds":%.3f,"time_to_first_token":null,"time_to_first_token_from_call":null,'
      .. '"total_seconds":%.3f,"chunk_count":0,"tokens_per_second":null}', waited, waited)
  local t = redis.call('TIME')
  local epoch = string.format('0%06x', (t[1] * 1000000 + t[2]) % 16777216)
  local data = '{"content":"",' .. how .. ',"epoch":"' .. epoch .. '","metrics":' .. metrics .. '}'
  local last = tonumber(fields[1])
  write(last, { status, data }, 1, 'status', status, 'ended_at', ms(now), 'metrics', metrics,
    'epochs', epochs_with(last + 1, epoch))
  retire(retention_ms)
end

local function cancel_queued(flag, retention_ms)
  end_queued('cancelled', '"by":' .. cjson.encode(who(flag)), retention_ms)
end

-- Ends a queued job whose deadline has passed.
local function fail_queued(retention_ms)
  local error = '{"code":"deadline_exceeded","message":"The job did not end before its deadline.","retryable":true}'
  redis.call('HSET', job, 'error', error)
  end_queued('failed', '"error":' .. error, retention_ms)
end

-- Why a writer may not write, or nil if it may; and the last number, the status, and the time of its first token.
-- Only the newest attempt of a job that has not ended writes. `fence` is its number and its claim's token, as in the
-- field `fence`: a number comes twice when Redis has lost the first claim with it. A bare number is compared as such.
local function standing(fence)
  local fields = redis.call('HMGET', job, 'status', 'attempt', 'last_seq', 'fence', 'first_token_at')
  local status, last = fields[1], tonumber(fields[3] or 0)
  if not status then return 'gone', 0, '' end
  -- A queued job has no attempt yet; its hash says 0.
  if (fields[4] ~= fence and fields[2] ~= fence) or status == 'queued' then
    -- Attempts only rise: Redis has lost the claim of this one, and knows of no other since.
    local number = tonumber(string.match(fence, '^(%d+):'))
    local behind = number and not TERMINAL[status] and tonumber(fields[2]) < number
    return behind and 'behind' or 'fenced', last, status
  end
  if TERMINAL[status] then return 'ended', last, status end
  return nil, last, status, fields[5]
end
