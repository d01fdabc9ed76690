-- expect: ok all refused
local out = {}
for _, path in ipairs { "../secret", "a/../../secret", "/etc/passwd", "link", "link/secret", "a\0b", "pipe",
  ("x/"):rep(2000), ("y"):rep(300), "inner/../../secret" } do
  local text, err = ctx.files.read(path)
  if text or not err then out[#out + 1] = path end
  local ok = ctx.files.write(path, "x")
  if ok then out[#out + 1] = "write " .. path end
end
return #out == 0 and "all refused" or table.concat(out, " ")
