#include "runtime/base/json.h"

// Boost 1.81 ships no compiled Boost.JSON: it is compiled here, once for the whole program.
#include <fmt/format.h>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/src.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "runtime/base/check.h"

namespace longhaul {
namespace {

// Two things Boost's parser does not do well: it keeps the last of two equal keys without saying so, and a fifth of all
// doubles come out one unit off in the last place. A handler that did both would need the whole DOM builder again, so a
// second walk tracks the keys and reads the doubles anew, in the order they stand in the text.
class SecondLook {
 public:
  static constexpr std::size_t max_object_size = -1;
  static constexpr std::size_t max_array_size = -1;
  static constexpr std::size_t max_key_size = -1;
  static constexpr std::size_t max_string_size = -1;

  std::string duplicate, too_large;
  std::vector<double> doubles;

  bool on_document_begin(boost::system::error_code&) { return true; }
  bool on_document_end(boost::system::error_code&) { return true; }
  bool on_object_begin(boost::system::error_code&) {
    keys_.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t, boost::system::error_code&) {
    keys_.pop_back();
    return true;
  }
  bool on_array_begin(boost::system::error_code&) { return true; }
  bool on_array_end(std::size_t, boost::system::error_code&) { return true; }
  bool on_key_part(json::string_view part, std::size_t, boost::system::error_code&) {
    key_.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, boost::system::error_code& ec) {
    key_.append(part.data(), part.size());
    if (!keys_.back().insert(key_).second) {
      duplicate = key_;
      ec = json::error::extra_data;
      return false;
    }
    key_.clear();
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, boost::system::error_code&) { return true; }
  bool on_string(json::string_view, std::size_t, boost::system::error_code&) { return true; }
  bool on_number_part(json::string_view part, boost::system::error_code&) {
    number_.append(part.data(), part.size());
    return true;
  }
  bool on_int64(std::int64_t, json::string_view, boost::system::error_code&) {
    number_.clear();
    return true;
  }
  bool on_uint64(std::uint64_t, json::string_view, boost::system::error_code&) {
    number_.clear();
    return true;
  }
  bool on_double(double near, json::string_view part, boost::system::error_code& ec) {
    number_.append(part.data(), part.size());
    if (!std::isfinite(near)) {
      // Not a value that could be written again.
      too_large = number_;
      ec = json::error::exponent_overflow;
      return false;
    }
    double exact = 0;
    const auto [end, error] = std::from_chars(number_.data(), number_.data() + number_.size(), exact);
    doubles.push_back(error == std::errc() && end == number_.data() + number_.size() ? exact : near);
    number_.clear();
    return true;
  }
  bool on_bool(bool, boost::system::error_code&) { return true; }
  bool on_null(boost::system::error_code&) { return true; }
  bool on_comment_part(json::string_view, boost::system::error_code&) { return true; }
  bool on_comment(json::string_view, boost::system::error_code&) { return true; }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string key_;
  std::string number_;
};

// Puts the doubles of the second look in place, in the order of the text (objects keep theirs).
void put_doubles(json::value& value, const double*& next, const double* end) {
  if (value.is_double()) {
    LONGHAUL_CHECK(next != end, "as many doubles as the first walk found");
    value = *next++;
  } else if (value.is_array()) {
    for (auto& element : value.get_array()) put_doubles(element, next, end);
  } else if (value.is_object()) {
    for (auto& member : value.get_object()) put_doubles(member.value(), next, end);
  }
}

void write_string(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  for (char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
          out.push_back(kHex[c & 15]);
        } else {
          out.push_back(c);
        }
    }
  }
  out.push_back('"');
}

void write_double(double number, std::string& out) {
  LONGHAUL_CHECK(std::isfinite(number), "a JSON number is finite");
  char buffer[40];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, number).ptr;
  std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  // Large integers come spelled out, with digits that the number does not have: who reads them as an exact decimal
  // would find another one than was written.
  if (text.size() > std::numeric_limits<double>::max_digits10 && text.find_first_of(".e") == std::string_view::npos) {
    end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
    text = std::string_view(buffer, static_cast<std::size_t>(end - buffer));
  }
  out += text;
  // 2.0 must stay a double when it is read back.
  if (text.find_first_of(".eE") == std::string_view::npos) out += ".0";
}

void write_value(const json::value& value, bool spaced, std::string& out) {
  switch (value.kind()) {
    case json::kind::null:
      out += "null";
      return;
    case json::kind::bool_:
      out += value.get_bool() ? "true" : "false";
      return;
    case json::kind::int64:
      out += std::to_string(value.get_int64());
      return;
    case json::kind::uint64:
      out += std::to_string(value.get_uint64());
      return;
    case json::kind::double_:
      if (spaced) {
        out += python_repr(value.get_double());
      } else {
        write_double(value.get_double(), out);
      }
      return;
    case json::kind::string:
      write_string(value.get_string(), out);
      return;
    case json::kind::array: {
      out.push_back('[');
      bool first = true;
      for (const auto& element : value.get_array()) {
        if (!first) out += spaced ? ", " : ",";
        first = false;
        write_value(element, spaced, out);
      }
      out.push_back(']');
      return;
    }
    case json::kind::object: {
      out.push_back('{');
      bool first = true;
      for (const auto& member : value.get_object()) {
        if (!first) out += spaced ? ", " : ",";
        first = false;
        write_string(member.key(), out);
        out += spaced ? ": " : ":";
        write_value(member.value(), spaced, out);
      }
      out.push_back('}');
      return;
    }
  }
}

}  // namespace

Result<json::value> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes_max) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("JSON text of {} bytes, at most {}", text.size(), limits.bytes_max));
  }
  json::parse_options options;
  options.max_depth = limits.depth_max;
  boost::system::error_code ec;
  json::stream_parser parser({}, options);
  std::size_t used = parser.write_some(text.data(), text.size(), ec);
  if (!ec && used < text.size()) ec = json::error::extra_data;
  if (!ec) parser.finish(ec);
  if (ec) {
    if (ec == json::error::too_deep) {
      return make_error(ErrorCode::kResourceExhausted, fmt::format("JSON nested deeper than {}", limits.depth_max));
    }
    return invalid_argument(fmt::format("not JSON at byte {}: {}", used, ec.message()));
  }
  json::value value = parser.release();
  json::basic_parser<SecondLook> finder(options);
  finder.write_some(false, text.data(), text.size(), ec);
  if (!finder.handler().too_large.empty()) {
    return invalid_argument(fmt::format("number {} is out of range", finder.handler().too_large.substr(0, 40)));
  }
  if (!finder.handler().duplicate.empty() || ec) {
    return invalid_argument(fmt::format("duplicate key \"{}\"", finder.handler().duplicate));
  }
  const std::vector<double>& doubles = finder.handler().doubles;
  const double* next = doubles.data();
  put_doubles(value, next, doubles.data() + doubles.size());
  return value;
}

std::string python_repr(double number) {
  LONGHAUL_CHECK(std::isfinite(number), "a JSON number is finite");
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
  std::string text(buffer, static_cast<std::size_t>(end - buffer));
  const int exponent = std::stoi(text.substr(text.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return text;
  end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::fixed).ptr;
  text.assign(buffer, static_cast<std::size_t>(end - buffer));
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string to_json(const json::value& value) {
  std::string out;
  write_value(value, false, out);
  return out;
}

std::string to_json_spaced(const json::value& value) {
  std::string out;
  write_value(value, true, out);
  return out;
}

}  // namespace longhaul
