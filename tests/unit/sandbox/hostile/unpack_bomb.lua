-- expect: tool_error
return table.unpack({}, 1, 1e7)
