-- expect: tool_error ctx.once
return ctx.once("a", function() return print end)
