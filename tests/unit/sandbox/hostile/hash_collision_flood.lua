-- expect: limit
-- Integer keys a multiple of the table's size apart fall into one chain.
local t = {}
local i = 0
while true do
  i = i + 1
  t[i * (1 << 40)] = i
end
