-- expect: tool_error the call has 256 steps already
for i = 1, 10000 do ctx.once("k" .. i, function() return i end) end
return "done"
