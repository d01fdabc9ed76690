-- expect: ok true
math.randomseed(1)
local a = math.random(math.mininteger, math.maxinteger)
math.randomseed(1)
return a == math.random(math.mininteger, math.maxinteger)
