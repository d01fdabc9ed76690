-- Factor of each unit to its quantity's base unit. Inch, foot, yard, mile, pound, ounce and US gallon
-- are exact by definition (international yard and pound, 1959; US gallon 231 cubic inches).
local units = {
  mm = { "length", 0.001 }, cm = { "length", 0.01 }, meters = { "length", 1 }, km = { "length", 1000 },
  inches = { "length", 0.0254 }, feet = { "length", 0.3048 }, yards = { "length", 0.9144 },
  miles = { "length", 1609.344 },
  grams = { "mass", 0.001 }, kg = { "mass", 1 }, pounds = { "mass", 0.45359237 },
  ounces = { "mass", 0.028349523125 },
  liters = { "volume", 1 }, gallons = { "volume", 3.785411784 },
  seconds = { "time", 1 }, minutes = { "time", 60 }, hours = { "time", 3600 }, days = { "time", 86400 },
}

return {
  name = "convert",
  description = "Convert a value between units",
  parameters = [[{
    "type": "object",
    "properties": {"value": {"type": "number"}, "from": {"type": "string"}, "to": {"type": "string"}},
    "required": ["value", "from", "to"],
    "additionalProperties": false
  }]],
  effect = "read",
  run = function(args)
    local from, to = units[args.from], units[args.to]
    if not from then return nil, "unknown unit: " .. args.from end
    if not to then return nil, "unknown unit: " .. args.to end
    if from[1] ~= to[1] then return nil, "cannot convert " .. args.from .. " to " .. args.to end
    return string.format("%.6g", args.value * from[2] / to[2])
  end,
}
