-- expect: limit memory
local half = ("x"):rep(1000000)
ctx.notes.put("k", half .. half .. half .. half .. half .. half .. half .. half .. half .. half)
