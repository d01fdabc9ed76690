-- expect: ok argument 1 of notes.get is a table, expected a string | argument 1 of notes.get is a no value, expected a string
local _, a = pcall(ctx.notes.get, {})
local _, b = pcall(ctx.notes.get)
return a:gsub("^.-argument", "argument") .. " | " .. b:gsub("^.-argument", "argument")
