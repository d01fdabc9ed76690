-- expect: tool_error a range of more than 1000000 elements
table.move({}, 1, 1e18, 2)
