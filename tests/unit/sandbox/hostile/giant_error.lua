-- expect: limit output
error(("x"):rep(300000))
