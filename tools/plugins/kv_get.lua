return {
  name = "kv_get",
  description = "Get the value stored under a key",
  parameters = [[{
    "type": "object",
    "properties": {"key": {"type": "string"}},
    "required": ["key"],
    "additionalProperties": false
  }]],
  effect = "read",
  powers = { notes = "read" },
  run = function(args, ctx)
    local value, err = ctx.notes.get(args.key)
    if value then return value end
    return nil, err or "no such key: " .. args.key
  end,
}
