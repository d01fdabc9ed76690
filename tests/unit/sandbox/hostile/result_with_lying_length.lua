-- expect: ok [1,2]
return setmetatable({ 1, 2 }, { __len = function() return 1e9 end })
