-- expect: tool_error a range of more than 1000000 elements
return table.concat({}, "", 1, math.maxinteger)
