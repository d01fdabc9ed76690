-- expect: tool_error yield across
local co = coroutine.wrap(function() return ctx.once("a", function() coroutine.yield(1) return 2 end) end)
co()
return "yielded"
