-- expect: limit cpu
-- Catches whatever it can and goes on.
local function stubborn()
  while true do
    local ok, err = pcall(function()
      while true do end
    end)
    if not ok then
      local co = coroutine.create(stubborn)
      coroutine.resume(co)
    end
  end
end
stubborn()
