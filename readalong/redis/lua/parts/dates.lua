-- Times as text.

-- A time in milliseconds since the epoch as RFC 3339, UTC. The calendar's year begins with March here, so that the leap
-- day is its last.
local function rfc3339(at)
  local div = function(a, b) return math.floor(a / b) end
  local days, rest = div(at, 86400000), at % 86400000
  local since = days + 719468
  local era = div(since, 146097)
  local day = since - era * 146097
  local year = div(day - div(day, 1460) + div(day, 36524) - div(day, 146096), 365)
  day = day - (365 * year + div(year, 4) - div(year, 100))
  local month = div(5 * day + 2, 153)
  day = day - div(153 * month + 2, 5) + 1
  month = month < 10 and month + 3 or month - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day, div(rest, 3600000), div(rest, 60000) % 60,
    div(rest, 1000) % 60, rest % 1000)
end

