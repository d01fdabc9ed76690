-- expect: limit cpu
local t = {}
for i = 1, 30000 do t["k" .. i] = i end
local n = 0
while true do
  for k in next, t do n = n + 1 end
end
