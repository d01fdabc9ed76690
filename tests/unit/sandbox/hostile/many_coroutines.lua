-- expect: limit cpu
while true do
  local co = coroutine.wrap(function()
    for i = 1, 10 do coroutine.yield(i) end
  end)
  for _ = 1, 10 do co() end
end
