-- expect: tool_error '%p' is not allowed in 'format'
return string.format("%d %-20p", 1, {})
