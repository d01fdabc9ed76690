-- expect: tool_error stack overflow
local function f(s) return (s:gsub("a", f)) end
return f("a")
