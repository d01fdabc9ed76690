-- expect: ok none
local found = {}
for _, name in ipairs { "io", "os", "package", "debug", "load", "loadstring", "loadfile", "dofile", "require", "xpcall",
  "warn", "rawgeti" } do
  if _G[name] ~= nil then found[#found + 1] = name end
end
for _, name in ipairs { "dump", "pack", "unpack", "packsize" } do
  if string[name] ~= nil then found[#found + 1] = "string." .. name end
end
if coroutine.close then found[#found + 1] = "coroutine.close" end
return #found == 0 and "none" or table.concat(found, " ")
