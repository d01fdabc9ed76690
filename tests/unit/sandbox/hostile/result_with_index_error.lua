-- expect: ok {}
return setmetatable({}, { __index = function() error("gotcha") end, __len = function() error("gotcha") end,
  __pairs = function() error("gotcha") end })
