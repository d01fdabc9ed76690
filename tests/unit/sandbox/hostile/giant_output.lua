-- expect: limit output
return ("x"):rep(300000)
