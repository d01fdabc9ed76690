-- expect: ok 3
return ctx.once("a", function()
  return setmetatable({ 1, 2, 3 }, { __index = function() error("asked") end, __len = function() return 1e9 end })
end)[3]
