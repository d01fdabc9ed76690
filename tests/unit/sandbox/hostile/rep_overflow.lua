-- expect: tool_error resulting string too large
return ("xx"):rep(math.maxinteger)
