-- expect: tool_error error raised with a table instead of a text
error({})
