-- expect: tool_error attempt to call a nil value (global 'load')
return load("\27Lua")
