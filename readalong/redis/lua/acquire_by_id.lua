-- Takes one job under a lease, whatever waits before it, unless another worker holds it.
-- KEYS[3] key that says that a worker was heard, KEYS[4] the job's arq in-progress key,
-- KEYS[5] jobs that wait, KEYS[6] jobs that run.
-- ARGV[1] worker, ARGV[2] job id, ARGV[3] lease (ms), ARGV[4] the in-progress key's time to live (ms).
-- Returns its place in the queue and the end of the lease, or nil: it is not there, or held.
-- One server only: the queue, the leases, the lists of jobs and an arq key.
-- Needs clock, leases.
local worker, id, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = now_ms()
hear(KEYS[3], now, lease)
local at = place(id)
local ends = tonumber(redis.call('ZSCORE', leases, id))
-- Held by this very worker: the reply to this call was lost, and it is a repeat.
if not at or (ends and ends > now and text(KEYS[4]) ~= worker) then return nil end
list_as_running(id, KEYS[5], KEYS[6])
hold(id, at, now + lease, KEYS[4], worker, ARGV[4])
return { ms(at), ms(now + lease) }
