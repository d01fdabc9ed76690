-- expect: ok _G _VERSION assert collectgarbage coroutine error getmetatable ipairs math next pairs pcall print rawequal rawget rawlen rawset select setmetatable string table tonumber tostring type utf8
local names = {}
for name in pairs(_G) do names[#names + 1] = name end
return table.concat(names, " ")
