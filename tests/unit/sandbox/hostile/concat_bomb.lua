-- expect: tool_error resulting string too large
local t = {}
for i = 1, 200 do t[i] = ("x"):rep(10000) end
return table.concat(t)
