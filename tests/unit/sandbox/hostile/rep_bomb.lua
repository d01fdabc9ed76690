-- expect: tool_error resulting string too large
return (""):rep(1e18) .. ("x"):rep(1000000000)
