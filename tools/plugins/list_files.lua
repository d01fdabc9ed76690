return {
  name = "list_files",
  description = "List the files in a folder",
  parameters = [[{
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": false
  }]],
  effect = "read",
  powers = { files = "read" },
  run = function(args, ctx)
    -- Entries come sorted; folders end in a slash.
    local names, err = ctx.files.list(args.path)
    if not names then return nil, err end
    if #names == 0 then return "(empty)" end
    return table.concat(names, "\n")
  end,
}
