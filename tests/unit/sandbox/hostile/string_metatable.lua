-- expect: ok X true
local mt = getmetatable("")
string.upper = function() return "changed" end
local ok = pcall(setmetatable, "", {})
return ("x"):upper() .. " " .. tostring(type(mt) == "string" and not ok)
