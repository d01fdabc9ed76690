-- expect: tool_error nested deeper than 64
local t = {}
t.self = t
return t
