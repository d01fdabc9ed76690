-- expect: ok nil
local hay = ("a"):rep(1000000)
local needle = ("a"):rep(500000) .. "b"
return tostring(hay:find(needle, 1, true))
