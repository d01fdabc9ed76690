-- expect: ok refused
for _, bad in ipairs({ -1, 0/0, 1/0, -1/0, 1e300 }) do
  if pcall(ctx.sleep, bad) then return "took " .. tostring(bad) end
end
for _, bad in ipairs({ 0/0, 1/0, 1e300, 1e12 }) do
  if pcall(ctx.sleep_until, bad) then return "took until " .. tostring(bad) end
end
for _, bad in ipairs({ "60", {}, true, print }) do
  if pcall(ctx.sleep, bad) then return "took a " .. type(bad) end
end
if pcall(ctx.sleep) then return "took nothing" end
return "refused"
