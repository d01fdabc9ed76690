-- expect: ok table function thread table function
local text = tostring({}) .. " " .. tostring(print) .. " " .. tostring(coroutine.create(print))
return text .. " " .. string.format("%s %s", {}, function() end)
