-- expect: tool_error resulting string too large
return (("x"):rep(100000):gsub("x", ("y"):rep(100)))
