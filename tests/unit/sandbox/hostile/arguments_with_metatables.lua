-- expect: ok table
setmetatable(args, { __index = error })
return type(args)
