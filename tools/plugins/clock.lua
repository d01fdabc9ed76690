return {
  name = "clock",
  description = "Get the current date and time",
  parameters = [[{
    "type": "object",
    "properties": {},
    "additionalProperties": false
  }]],
  effect = "read",
  powers = { clock = true },
  -- UTC, as 2026-11-23 07:05:00.
  run = function(_, ctx)
    return ctx.clock.now()
  end,
}
