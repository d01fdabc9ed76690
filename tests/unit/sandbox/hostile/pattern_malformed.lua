-- expect: ok malformed pattern (missing ']') | malformed pattern (ends with '%') | missing '[' after '%f' in pattern | unfinished capture | invalid pattern capture
local out = {}
for _, pattern in ipairs { "[a", "%", "%f", "(a", "a)." } do
  local _, err = pcall(string.find, "aaa", pattern)
  out[#out + 1] = err
end
return table.concat(out, " | ")
