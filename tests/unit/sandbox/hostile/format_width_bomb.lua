-- expect: tool_error
return string.format("%99999999d", 1)
