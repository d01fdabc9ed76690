-- expect: limit memory
local args = {}
for i = 1, 200 do args[i] = ("x"):rep(100000) end
return string.format(("%s"):rep(200), table.unpack(args))
