-- The mark of an erased job, which stands in the place of its cancel flag.

-- The SHA-1 of the name of the erased job's model, '' if the mark does not know it; nil if it is no such mark.
local function erased_model(mark)
  if type(mark) ~= 'string' or not string.find(mark, '^{"by":"erase"') then return nil end
  return string.match(mark, '"model":"(%x+)"') or ''
end

