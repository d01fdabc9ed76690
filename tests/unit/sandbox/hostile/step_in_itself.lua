-- expect: tool_error is made inside itself
local function step() return ctx.once("a", step) end
return step()
