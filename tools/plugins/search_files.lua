local max_files = 500

return {
  name = "search_files",
  description = "Find the files in a folder that contain a text",
  parameters = [[{
    "type": "object",
    "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
    "required": ["path", "text"],
    "additionalProperties": false
  }]],
  effect = "read",
  powers = { files = "read" },
  run = function(args, ctx)
    if args.text == "" then return nil, "the text to find is empty" end
    local found, seen = {}, 0
    -- Folders wait in a queue, so the depth of the tree costs no stack.
    local queue = { (args.path:gsub("/+$", "")) }
    local at = 1
    while queue[at] do
      local folder = queue[at]
      at = at + 1
      local names, err = ctx.files.list(folder)
      if not names then
        if at == 2 then return nil, err end
        names = {}
      end
      for _, name in ipairs(names) do
        local path = folder == "" and name or folder .. "/" .. name
        if name:sub(-1) == "/" then
          queue[#queue + 1] = path:sub(1, -2)
        else
          seen = seen + 1
          if seen > max_files then return nil, "more than " .. max_files .. " files; choose a smaller folder" end
          local content = ctx.files.read(path)
          if content and content:find(args.text, 1, true) then found[#found + 1] = path end
        end
      end
    end
    if #found == 0 then return "no matches" end
    return table.concat(found, "\n")
  end,
}
