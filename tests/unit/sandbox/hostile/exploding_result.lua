-- expect: limit output
-- 2^40 leaves in 40 tables.
local t = { "x" }
for _ = 1, 40 do t = { t, t } end
return t
