-- expect: tool_error the pattern takes more than
return (("a"):rep(100000):find("[" .. ("b"):rep(100000) .. "]"))
