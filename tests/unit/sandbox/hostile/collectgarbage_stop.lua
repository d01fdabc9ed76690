-- expect: tool_error collectgarbage: only "count" is allowed
collectgarbage("stop")
