return {
  name = "read_file",
  description = "Read a text file",
  parameters = [[{
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": false
  }]],
  effect = "read",
  powers = { files = "read" },
  run = function(args, ctx)
    local content, err = ctx.files.read(args.path)
    if not content then return nil, err end
    if content == "" then return "(empty)" end
    return content
  end,
}
