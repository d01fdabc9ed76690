-- expect: tool_error a call sleeps 1000 times at most
for i = 1, 5000 do ctx.sleep(0) end
return "done"
