-- expect: limit cpu
local function closing()
  local guard <close> = setmetatable({}, { __close = function()
    while true do end
  end })
  error("leave")
end
while true do pcall(closing) end
