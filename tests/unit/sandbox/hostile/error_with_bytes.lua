-- expect: tool_error a?b
error("a\xffb", 0)
