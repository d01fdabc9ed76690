-- expect: limit host_calls
while true do ctx.notes.list() end
