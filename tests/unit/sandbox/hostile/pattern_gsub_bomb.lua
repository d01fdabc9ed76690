-- expect: tool_error the pattern takes more than
return (("a"):rep(100000):gsub("(a*)*b", ""))
