-- expect: tool_error nested more than 8 deep
local function step(n) return ctx.once("k" .. n, function() return step(n + 1) end) end
return step(1)
