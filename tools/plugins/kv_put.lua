-- Notes live in the session: they are recorded with the call's result, so a fork or a rewind sees
-- the notes of its own past.
return {
  name = "kv_put",
  description = "Store a value under a key",
  parameters = [[{
    "type": "object",
    "properties": {"key": {"type": "string"}, "value": {"type": "string"}},
    "required": ["key", "value"],
    "additionalProperties": false
  }]],
  effect = "idempotent",
  powers = { notes = "write" },
  run = function(args, ctx)
    local ok, err = ctx.notes.put(args.key, args.value)
    if not ok then return nil, err end
    return "ok"
  end,
}
