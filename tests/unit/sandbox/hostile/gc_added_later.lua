-- expect: ok never
local ran = "never"
local mt = {}
for _ = 1, 1000 do setmetatable({}, mt) end
mt.__gc = function() ran = "ran" end
for _ = 1, 100 do local s = ("x"):rep(100000) .. _ end
return ran
