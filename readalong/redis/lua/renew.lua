-- Renews the leases of a worker's jobs, and notes that it lives.
-- KEYS[3] key that says that a worker was heard.
-- ARGV[1] worker, ARGV[2] lease (ms), ARGV[3] prefix of arq's in-progress keys, ARGV[4] their time to live (ms), ARGV[5..] ids.
-- Returns the ids whose lease is another's by now, or that left the queue.
-- One server only: the queue, the leases, and arq's keys, whose names it makes of the ids.
-- Needs clock, leases.
local worker, lease = ARGV[1], tonumber(ARGV[2])
local now = now_ms()
hear(KEYS[3], now, lease)
local lost = {}
for i = 5, #ARGV do
  local id = ARGV[i]
  local holder = text(ARGV[3] .. id)
  local at = place(id)
  -- A lease that ran out but that no worker took meanwhile is still ours to renew.
  if at and (not holder or holder == worker) then
    hold(id, at, now + lease, ARGV[3] .. id, worker, ARGV[4])
  else
    lost[#lost + 1] = id
  end
end
lease_again(now, lease)
return lost
