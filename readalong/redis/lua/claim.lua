-- Starts the next attempt.
-- ARGV[1] worker (JSON), ARGV[2] claim token, ARGV[3] attempts allowed, ARGV[4] retention (ms).
-- ARGV[5] the schema that the worker knows, ARGV[6] the end of its lease (ms), or 0.
-- Returns {verdict, attempt, last_seq, ms since submit, flag or '', model, request, type and data of the event that it
-- wrote, ms to its deadline or -1, ms from submit to the first claim, thread, leading}: the digest of its thread or '',
-- and how many of its messages stand before the thread's; of one that ends the job for another attempt
-- {verdict, attempt, last_seq, ms since submit, flag or reason, ms from submit to the first claim, ms from submit to
-- that attempt's first token or -1, thread}; of one that has ended {verdict, thread}; the verdicts:
--   gone       there is no such job
--   unknown    it has another schema: nothing is changed
--   late       the lease is over: nothing is changed, for the job may be another worker's by now
--   ended      it has ended (or was cancelled, or its deadline passed, while queued: it ends here)
--   run        go on; `started` or `restarted` is in the log
--   cancelled  it was running elsewhere and is cancelled: this attempt writes the end
--   lost       it was running elsewhere and may not run again: this attempt writes the end, for the reason that
--              stands in the flag's place
-- Needs clock, job.
local fields = redis.call('HMGET', job, 'status', 'attempt', 'lost', 'last_seq', 'created_at', 'claim', 'handover', 'max_attempts', 'schema', 'model', 'request',
  'on_worker_lost', 'deadline', 'started_at', 'first_token_at', 'thread_digest', 'thread_leading', 'began')
local status, attempt, lost, last = fields[1], tonumber(fields[2]), tonumber(fields[3]), tonumber(fields[4])
if not status then return { 'gone' } end
local thread, leading = fields[16] or '', tonumber(fields[17] or '0')
if TERMINAL[status] then return { 'ended', thread } end
if fields[9] ~= ARGV[5] then return { 'unknown' } end
local model, request = fields[10], fields[11]

local flag = redis.pcall('GET', cancel)
if type(flag) == 'table' then flag = false end -- a person put another type there
local now = now_ms()
local waited = now - tonumber(fields[5])
local deadline = tonumber(fields[13])
local left = deadline and math.max(deadline - now, 0) or -1
local late = left == 0
local started_at, first_token_at = tonumber(fields[14] or ''), tonumber(fields[15] or '')
local queued = started_at and started_at - tonumber(fields[5]) or waited

-- The reply to this very claim was lost and the client asks again: the same answer, and nothing is written.
if fields[6] == ARGV[2] then
  local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  if not newest then return { 'gone' } end
  local begun = newest[2]
  return { 'run', attempt, last, waited, flag or '', model, request, begun[2], begun[4], left, queued,
    thread, leading }
end

local lease_ends = tonumber(ARGV[6])
if lease_ends > 0 and now > lease_ends then return { 'late' } end
local epoch = epoch_of(ARGV[2])

if status == 'queued' then
  if flag then
    cancel_queued(flag, ARGV[4])
    return { 'ended', thread }
  end
  if late then
    fail_queued(ARGV[4])
    return { 'ended', thread }
  end
  local begun = { 'started', '{"attempt":1,"epoch":' .. cjson.encode(epoch) .. ',"worker":' .. ARGV[1] .. '}' }
  last = write(last, begun, 1, 'status', 'running', 'attempt', '1', 'worker', ARGV[1], 'claim', ARGV[2],
    'fence', '1:' .. ARGV[2], 'started_at', ms(now), 'last_event_at', ms(now), 'epochs', epochs_with(last + 1, epoch),
    'began', '1:' .. ms(now))
  if not last then return { 'gone' } end
  return { 'run', 1, last, waited, '', model, request, begun[1], begun[2], left, queued, thread, leading }
end

attempt = attempt + 1
local reason = fields[7]
if not reason then
  reason = 'worker_lost'
  lost = lost + 1
end
local mine = { 'attempt', string.format('%d', attempt), 'lost', string.format('%d', lost), 'worker', ARGV[1],
  'fence', string.format('%d:', attempt) .. ARGV[2], 'epochs', epochs_with(last + 1, epoch) }
local verdict, note
if flag then
  verdict, note = 'cancelled', flag
elseif late then
  verdict, note = 'lost', 'deadline_exceeded'
elseif lost >= tonumber(fields[8] or ARGV[3]) or (reason == 'worker_lost' and fields[12] == 'fail') then
  verdict, note = 'lost', reason
end
if verdict then
  redis.call('HSET', job, unpack(mine))
  -- A late repeat of an older claim must not be answered with this attempt's number: two would write.
  redis.call('HDEL', job, 'claim')
  local first = first_token_at and first_token_at - tonumber(fields[5]) or -1
  return { verdict, attempt, last, waited, note, queued, first, thread }
end
local begun = { 'restarted', string.format('{"attempt":%d,"reason":%s,"epoch":%s,"worker":%s}', attempt,
  cjson.encode(reason), cjson.encode(epoch), ARGV[1]) }
-- When each attempt began and, of those that said something, when first: `<attempt>:<ms>[/<ms>]`, from the oldest on.
local before = fields[18] and fields[18] .. (first_token_at and '/' .. ms(first_token_at) or '') .. ' ' or ''
last = write(last, begun, 1, 'claim', ARGV[2], 'last_event_at', ms(now),
  'began', before .. string.format('%d:', attempt) .. ms(now), unpack(mine))
if not last then return { 'gone' } end
redis.call('HDEL', job, 'handover', 'first_token_at', 'progress')
return { 'run', attempt, last, waited, '', model, request, begun[1], begun[2], left, queued, thread, leading }
