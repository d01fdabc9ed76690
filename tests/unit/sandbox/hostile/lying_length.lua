-- expect: tool_error a table with a metatable is not allowed here
local t = setmetatable({}, { __len = function() return math.maxinteger - 1 end })
table.insert(t, 1, "x")
