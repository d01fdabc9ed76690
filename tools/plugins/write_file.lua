return {
  name = "write_file",
  description = "Write a text file",
  parameters = [[{
    "type": "object",
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
    "required": ["path", "content"],
    "additionalProperties": false
  }]],
  -- Writing the same bytes again changes nothing.
  effect = "idempotent",
  powers = { files = "write" },
  run = function(args, ctx)
    local ok, err = ctx.files.write(args.path, args.content)
    if not ok then return nil, err end
    return "ok"
  end,
}
