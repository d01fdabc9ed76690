-- expect: limit cpu
print(setmetatable({}, { __tostring = function()
  while true do end
end }))
