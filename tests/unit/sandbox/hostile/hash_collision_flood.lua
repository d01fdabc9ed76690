-- expect: limit
-- Multiples of 2^13 - 1, 2^14 - 1 and 2^15 - 1, by which Lua takes integer keys in tables of these sizes: one chain.
local step = 8191 * 16383 * 32767
local t = {}
local i = 0
while true do
  i = i + 1
  t[i * step] = i
end
