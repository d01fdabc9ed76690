-- expect: ok nil the value has 1000000 bytes, at most 65536
local ok, err = ctx.notes.put("k", ("x"):rep(1000000))
return tostring(ok) .. " " .. err
