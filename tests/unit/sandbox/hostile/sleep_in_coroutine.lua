-- expect: sleeping
local co = coroutine.create(function() ctx.sleep(60) end)
coroutine.resume(co)
return "went on"
