-- expect: limit cpu
return ctx.once("a", function() while true do end end)
