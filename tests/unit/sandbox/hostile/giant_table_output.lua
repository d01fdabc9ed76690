-- expect: limit output
local t = {}
for i = 1, 60000 do t[i] = "0123456789" end
return t
