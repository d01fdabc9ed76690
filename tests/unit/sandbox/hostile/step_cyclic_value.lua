-- expect: tool_error ctx.once
return ctx.once("a", function() local t = {} t[1] = t return t end)
