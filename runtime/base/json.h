// JSON values: Boost.JSON's DOM, whose objects keep the order of their keys (tool schemas are shown to the model in
// the order their author wrote). Parsing here is for small documents from outside (schemas, arguments, records) and is
// bounded; bulk reading (tokenizer.json, checkpoint headers, batches) uses simdjson in the room that needs it.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <string>
#include <string_view>

#include "runtime/base/result.h"

namespace longhaul {

namespace json = boost::json;

struct JsonLimits {
  std::size_t bytes_max = 16 << 20;
  std::size_t depth_max = 256;
};

// Strict RFC 8259, UTF-8 checked, duplicate keys refused. kInvalidArgument names the byte offset and the reason;
// kResourceExhausted names the limit.
Result<json::value> parse_json(std::string_view text, const JsonLimits& limits = {});

// Compact form: no spaces, UTF-8 as it is, doubles in the shortest form that reads back the same.
std::string to_json(const json::value& value);

// A double as Python's repr() and str() write it: "2.0", "100000.0", "1e+16".
std::string python_repr(double number);

// With ", " and ": " as Python's json.dumps(ensure_ascii=False) writes it; what the chat templates' tojson gives.
std::string to_json_spaced(const json::value& value);

}  // namespace longhaul
