-- expect: limit cpu
while true do pcall(ctx.once, "a", function() while true do end end) end
