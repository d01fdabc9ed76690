-- expect: tool_error the pattern takes more than
return (("a"):rep(30):match(("a?"):rep(30) .. ("a"):rep(30) .. "c"))
