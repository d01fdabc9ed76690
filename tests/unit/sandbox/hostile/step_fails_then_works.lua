-- expect: ok 2 2
local n = 0
local function step()
  n = n + 1
  if n == 1 then error("not yet") end
  return n
end
pcall(ctx.once, "a", step)
return ctx.once("a", step) .. " " .. ctx.once("a", step)
