-- The agent that `longhaul run` starts when no --agent is given. An agent file is evaluated in the sandbox, without
-- powers; what it returns is data.
return {
  system = "You are a careful assistant. Use the tools to do what is asked, then answer briefly.",
  -- Names of shipped plugins, or paths of Lua files relative to this file. { name = "write_file", approve = true }
  -- has a person asked before every call of that tool.
  tools = {
    "calc", "kv_put", "kv_get", "list_files", "read_file", "write_file", "search_files", "convert", "clock",
  },
  limits = {
    turns = 50,            -- assistant messages in one exchange
    message_tokens = 2048, -- tokens of one assistant message
    equal_calls = 4,       -- the same call with the same result in a row ends the exchange
  },
  sampling = { temperature = 0.0 },
  reasoning = "on",
}
