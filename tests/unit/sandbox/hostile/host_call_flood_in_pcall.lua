-- expect: limit host_calls
while true do pcall(ctx.notes.put, "k", "v") end
