-- expect: tool_error the steps of a call have 1048576 bytes at most
for i = 1, 100 do ctx.once("k" .. i, function() return ("x"):rep(60000) end) end
return "done"
