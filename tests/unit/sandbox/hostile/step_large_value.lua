-- expect: tool_error bytes, at most 65536
return ctx.once("a", function() return ("x"):rep(70000) end)
