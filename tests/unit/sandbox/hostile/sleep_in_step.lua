-- expect: tool_error a step cannot sleep
return ctx.once("a", function() ctx.sleep(60) return 1 end)
