-- expect: ok nested too deeply
local deepest
local function nest()
  local ok, err = coroutine.resume(coroutine.create(nest))
  if not ok and not deepest then deepest = tostring(err) end
end
nest()
if deepest:find("nested too deeply") or deepest:find("stack overflow") then return "nested too deeply" end
return deepest
