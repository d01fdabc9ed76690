-- Arithmetic on decimal numbers: + - * / and parentheses. A recursive-descent parser, so nothing
-- that the model writes is ever loaded as code.

local function parse(text)
  local pos, depth = 1, 0
  local expression

  local function skip()
    pos = text:find("[^ \t]", pos) or #text + 1
  end

  local function primary()
    skip()
    local c = text:sub(pos, pos)
    if c == "(" then
      depth = depth + 1
      if depth > 50 then return nil, "too many parentheses" end
      pos = pos + 1
      local value, err = expression()
      if not value then return nil, err end
      skip()
      if text:sub(pos, pos) ~= ")" then return nil, "missing )" end
      pos, depth = pos + 1, depth - 1
      return value
    elseif c == "-" or c == "+" then
      depth = depth + 1
      if depth > 50 then return nil, "too many signs" end
      pos = pos + 1
      local value, err = primary()
      if not value then return nil, err end
      depth = depth - 1
      return c == "-" and -value or value
    end
    local digits = text:match("^%d+%.?%d*", pos) or text:match("^%.%d+", pos)
    if not digits then
      return nil, c == "" and "unexpected end" or "unexpected '" .. c .. "'"
    end
    pos = pos + #digits
    return tonumber(digits)
  end

  local function term()
    local left, err = primary()
    if not left then return nil, err end
    while true do
      skip()
      local op = text:sub(pos, pos)
      if op ~= "*" and op ~= "/" then return left end
      pos = pos + 1
      local right
      right, err = primary()
      if not right then return nil, err end
      if op == "*" then
        -- Integers stay exact as long as they fit; beyond 2^53 the float says so by its exponent.
        local exact = left * right
        if math.type(exact) == "integer" and math.abs(left + 0.0) * math.abs(right + 0.0) > 2.0 ^ 53 then
          exact = (left + 0.0) * right
        end
        left = exact
      elseif right == 0 then
        return nil, "division by zero"
      else
        left = left / right
      end
    end
  end

  function expression()
    local left, err = term()
    if not left then return nil, err end
    while true do
      skip()
      local op = text:sub(pos, pos)
      if op ~= "+" and op ~= "-" then return left end
      pos = pos + 1
      local right
      right, err = term()
      if not right then return nil, err end
      if op == "-" then right = -right end
      if math.abs(left + 0.0) + math.abs(right + 0.0) > 2.0 ^ 53 then left = left + 0.0 end
      left = left + right
    end
  end

  local value, err = expression()
  if not value then return nil, err end
  skip()
  if pos <= #text then return nil, "unexpected '" .. text:sub(pos, pos) .. "'" end
  return value
end

local function render(value)
  if math.type(value) == "integer" then return string.format("%d", value) end
  if value ~= value or value == math.huge or value == -math.huge then return nil, "out of range" end
  if value == math.floor(value) and math.abs(value) < 2.0 ^ 53 then return string.format("%d", value) end
  return string.format("%.10g", value)
end

return {
  name = "calc",
  description = "Evaluate an arithmetic expression",
  parameters = [[{
    "type": "object",
    "properties": {"expression": {"type": "string"}},
    "required": ["expression"],
    "additionalProperties": false
  }]],
  effect = "read",
  run = function(args)
    local value, err = parse(args.expression)
    if not value then return nil, "bad expression: " .. err end
    local text
    text, err = render(value)
    if not text then return nil, "bad expression: " .. err end
    return text
  end,
}
