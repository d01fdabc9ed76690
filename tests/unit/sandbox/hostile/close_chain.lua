-- expect: contained
-- 5.4.4 has memory errors around long chains of to-be-closed values: whatever happens, it happens to the worker.
local mt = { __close = function() error("again") end }
local function chain(n)
  local guard <close> = setmetatable({}, mt)
  if n > 0 then chain(n - 1) end
  error("leave")
end
for _ = 1, 100 do pcall(chain, 180) end
local wraps = {}
for i = 1, 20000 do
  wraps[i] = coroutine.wrap(function()
    local guard <close> = setmetatable({}, mt)
    coroutine.yield()
    error("x")
  end)
  wraps[i]()
end
for i = 1, #wraps do pcall(wraps[i]) end
return "survived"
