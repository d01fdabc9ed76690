-- expect: tool_error the pattern takes more than
return (("a"):rep(5000):find(".-.-.-.-b"))
