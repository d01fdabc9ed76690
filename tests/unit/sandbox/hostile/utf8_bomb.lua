-- expect: ok 700000
return utf8.len(("ab"):rep(350000))
