-- expect: limit cpu
local function nest(n)
  local f = coroutine.wrap(function()
    if n == 0 then
      while true do end
    end
    while true do
      pcall(nest, n - 1)
    end
  end)
  f()
end
nest(20)
