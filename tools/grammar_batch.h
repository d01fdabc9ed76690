// The lines of `longhaul grammar check|bench --batch`: a schema and instances, one JSON object a line.
//
//   {"schema": ..., "format": "assert" | "annotate" (default assert), "tests": [{"data": ..., "valid": true}, ...]}
//
// An instance is the JSON text it is in the line, of any type: 1.0 and "\u0061" stay as written. Other members of the
// line are ignored.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "tools/json_schema.h"

namespace longhaul::tools {

struct BatchTest {
  std::string text;                    // of "data", without whitespace around it
  const json::value* valid = nullptr;  // as given; borrowed from the line's `document`
  bool is_valid() const { return valid != nullptr && valid->is_bool() && valid->get_bool(); }
};

struct BatchLine {
  json::value document;  // the whole line
  const json::value* schema = nullptr;
  SchemaOptions options;
  std::vector<BatchTest> tests;
};

// kInvalidArgument: the line is not such an object. kResourceExhausted: a limit of the JSON reader (the schema is then
// refused, which is an answer).
Result<std::unique_ptr<BatchLine>> read_batch_line(std::string_view line);

}  // namespace longhaul::tools
