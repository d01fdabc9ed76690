-- expect: tool_error my own text
error(setmetatable({}, { __tostring = function() return "my own text" end }))
