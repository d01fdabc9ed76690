-- expect: sleeping
-- The run ends inside the question: nothing of the script goes on.
pcall(function() ctx.sleep(60) end)
return "went on"
