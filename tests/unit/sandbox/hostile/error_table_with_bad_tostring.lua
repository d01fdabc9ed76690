-- expect: tool_error error object whose text cannot be had
error(setmetatable({}, { __tostring = function() error("no") end }))
