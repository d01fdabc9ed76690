-- expect: tool_error error raised with a nil instead of a text
error(nil)
