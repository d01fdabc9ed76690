-- expect: tool_error the pattern takes more than
return (("("):rep(100000):find("%b()"))
