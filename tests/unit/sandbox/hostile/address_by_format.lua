-- expect: tool_error '%p' is not allowed in 'format'
return string.format("%p", {})
