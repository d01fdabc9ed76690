-- expect: ok refused
for _, bad in ipairs({ "", ("k"):rep(257), "\xff", 5, {}, true }) do
  if pcall(ctx.once, bad, function() return 1 end) then return "took a bad key" end
end
if pcall(ctx.once, "a", "b") or pcall(ctx.once, "a") or pcall(ctx.once) then return "took no function" end
return "refused"
