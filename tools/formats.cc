// Each from its RFC: 3339 (dates, times, durations), 5321 (email), 1123 (hostname), 3986 and 3987 (URIs), 6570
// (templates), 9562 (uuid), 6901 (pointers).
#include "tools/formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <string>

namespace longhaul::tools {
namespace {

constexpr std::array<std::string_view, 19> kNames{
    "date-time",     "date",          "time",         "duration", "email",        "idn-email",
    "hostname",      "idn-hostname",  "ipv4",         "ipv6",     "uri",          "iri",
    "uri-reference", "iri-reference", "uri-template", "uuid",     "json-pointer", "relative-json-pointer",
    "regex"};

const std::string kDate =
    "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|"
    "02-(?:0[1-9]|1\\d|2[0-8]))|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
const std::string kTime = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const std::string kOctet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const std::string kIpv4 = kOctet + "(?:\\." + kOctet + "){3}";

std::string ipv6() {
  const std::string h = "[0-9A-Fa-f]{1,4}", pair = "(?:" + h + ":" + h + "|" + kIpv4 + ")";
  auto groups = [&](int n) { return n == 0 ? std::string() : "(?:" + h + ":){" + std::to_string(n) + "}"; };
  // At most n groups before "::".
  auto before = [&](int n) {
    return n == 0 ? std::string() : "(?:(?:" + h + ":){0," + std::to_string(n - 1) + "}" + h + ")?";
  };
  std::string all = "(?:" + groups(6) + pair;
  for (int n = 0; n <= 5; ++n) all += "|" + before(n) + "::" + groups(5 - n) + pair;
  return all + "|" + before(6) + "::" + h + "|" + before(7) + "::)";
}

// RFC 3986 with `more` as further unreserved characters (of RFC 3987, or none).
struct UriParts {
  std::string absolute, relative;
};

UriParts uri(bool international) {
  const std::string more = international ? "\\u{A0}-\\u{D7FF}\\u{F900}-\\u{FDCF}\\u{FDF0}-\\u{FFEF}"
                                           "\\u{10000}-\\u{1FFFD}\\u{20000}-\\u{2FFFD}\\u{30000}-\\u{3FFFD}"
                                           "\\u{40000}-\\u{4FFFD}\\u{50000}-\\u{5FFFD}\\u{60000}-\\u{6FFFD}"
                                           "\\u{70000}-\\u{7FFFD}\\u{80000}-\\u{8FFFD}\\u{90000}-\\u{9FFFD}"
                                           "\\u{A0000}-\\u{AFFFD}\\u{B0000}-\\u{BFFFD}\\u{C0000}-\\u{CFFFD}"
                                           "\\u{D0000}-\\u{DFFFD}\\u{E1000}-\\u{EFFFD}"
                                         : "";
  const std::string unreserved = "\\w.~" + more + "-", sub = "!$&'()*+,;=", percent = "%[0-9A-Fa-f]{2}";
  const std::string pchar = "(?:[" + sub + ":@" + unreserved + "]|" + percent + ")";
  const std::string no_colon = "(?:[" + sub + "@" + unreserved + "]|" + percent + ")";
  const std::string user = "(?:[" + sub + ":" + unreserved + "]|" + percent + ")*";
  const std::string name = "(?:[" + sub + unreserved + "]|" + percent + ")*";
  const std::string literal = "\\[(?:" + ipv6() + "|[vV][0-9A-Fa-f]+\\.[" + sub + ":\\w.~-]+)\\]";
  const std::string authority = "(?:" + user + "@)?(?:" + literal + "|" + name + ")(?::\\d*)?";
  const std::string rest = "(?:/" + pchar + "*)*";
  const std::string rooted = "/(?:" + pchar + "+" + rest + ")?";
  const std::string private_use =
      international ? "\\u{E000}-\\u{F8FF}\\u{F0000}-\\u{FFFFD}\\u{100000}-\\u{10FFFD}" : "";
  const std::string query = "(?:\\?(?:[" + sub + ":@/?" + private_use + unreserved + "]|" + percent + ")*)?";
  const std::string fragment = "(?:#(?:[" + sub + ":@/?" + unreserved + "]|" + percent + ")*)?";
  UriParts parts;
  parts.absolute = "[A-Za-z][A-Za-z0-9+.-]*:(?://" + authority + rest + "|" + rooted + "|" + pchar + "+" + rest + "|)" +
                   query + fragment;
  parts.relative = "(?://" + authority + rest + "|" + rooted + "|" + no_colon + "+" + rest + "|)" + query + fragment;
  return parts;
}

std::string email(bool international) {
  const std::string more = international ? "\\u{80}-\\u{10FFFF}" : "";
  const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~" + more + "-]+";
  const std::string quoted = "\"(?:[\\x20\\x21\\x23-\\x5B\\x5D-\\x7E" + more + "]|\\\\[\\x20-\\x7E])*\"";
  const std::string letter = international ? "[A-Za-z0-9\\p{L}\\p{N}]" : "[A-Za-z0-9]";
  const std::string inner = international ? "[A-Za-z0-9\\p{L}\\p{N}\\p{M}-]" : "[A-Za-z0-9-]";
  const std::string label =
      letter + "(?:" + inner + "{0,61}" + (international ? "[A-Za-z0-9\\p{L}\\p{N}\\p{M}]" : letter) + ")?";
  return "(?:" + atom + "(?:\\." + atom + ")*|" + quoted + ")@(?:" + label + "(?:\\." + label + ")*|\\[(?:" + kIpv4 +
         "|IPv6:" + ipv6() + ")\\])";
}

// Labels of letters, digits and inner hyphens. A hyphen in both the third and fourth place is left to encoded labels
// ("xn--..."), whose validity (IDNA 2008) no automaton can tell; none of them is let through.
std::string hostname() {
  const std::string c = "[A-Za-z0-9]", d = "[A-Za-z0-9-]";
  // First, second; then third and fourth not both hyphens.
  const std::string more = "(?:" + d + "{0,59}" + c + ")?";
  return "(?:" + c + "(?:" + d + "?" + c + ")?|" + c + d + "(?:" + c + more + "|-" + c + "(?:" + d + "{0,58}" + c +
         ")?))";
}

// Every text of this file is a pattern; a mistake would show in the first test.
RegexId whole(RegexPool& pool, const std::string& body) {
  return pool.pattern("^(?:" + body + ")$").value();
}

// 23:59:60 at Greenwich, as every clock tells it.
RegexId leap_second(RegexPool& pool) {
  std::vector<RegexId> hours;
  for (std::uint32_t hour = 0; hour < 24; ++hour) {
    hours.push_back(pool.concat(pool.literal(fmt::format("{:02}:", hour)), pool.leap_rest(hour)));
  }
  return pool.either(std::move(hours));
}

// The format's texts.
RegexId spelled(RegexPool& pool, std::string_view name) {
  if (name == "date") return whole(pool, kDate);
  if (name == "time") return pool.either({whole(pool, kTime), leap_second(pool)});
  if (name == "date-time") {
    const RegexId time = pool.either({whole(pool, kTime), leap_second(pool)});
    return pool.concat(whole(pool, kDate), pool.concat(pool.chars(CharSet({{'T', 'T'}, {'t', 't'}})), time));
  }
  if (name == "duration") {
    const std::string time = "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)";
    return whole(pool, "P(?:\\d+W|(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)(?:" + time + ")?|" + time + ")");
  }
  if (name == "email") return whole(pool, email(false));
  if (name == "idn-email") return whole(pool, email(true));
  if (name == "hostname") return whole(pool, hostname() + "(?:\\." + hostname() + ")*");
  if (name == "ipv4") return whole(pool, kIpv4);
  if (name == "ipv6") return whole(pool, ipv6());
  if (name == "uri" || name == "iri") return whole(pool, uri(name == "iri").absolute);
  if (name == "uri-reference" || name == "iri-reference") {
    const UriParts parts = uri(name == "iri-reference");
    return pool.either({whole(pool, parts.absolute), whole(pool, parts.relative)});
  }
  if (name == "uri-template") {
    const std::string percent = "%[0-9A-Fa-f]{2}", letter = "(?:\\w|" + percent + ")";
    const std::string variable = letter + "(?:\\.?" + letter + ")*(?:\\*|:[1-9]\\d{0,3})?";
    return whole(pool,
                 "(?:[!#$&-;=?-\\[\\]_a-z~\\u{A0}-\\u{D7FF}\\u{E000}-\\u{FDCF}\\u{FDF0}-\\u{FFEF}"
                 "\\u{10000}-\\u{10FFFD}]|" +
                     percent + "|\\{[+#./;?&=,!@|]?" + variable + "(?:," + variable + ")*\\})*");
  }
  if (name == "uuid") return whole(pool, "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}");
  if (name == "json-pointer") return whole(pool, "(?:/(?:[^~/]|~[01])*)*");
  if (name == "relative-json-pointer") return whole(pool, "(?:0|[1-9]\\d*)(?:#|(?:/(?:[^~/]|~[01])*)*)");
  return kNoText;
}

}  // namespace

RegexId leap_second_rest(RegexPool& pool, std::uint32_t hour) {
  std::vector<RegexId> minutes;
  for (std::uint32_t ten = 0; ten < 6; ++ten) {
    minutes.push_back(pool.concat(pool.literal(fmt::format("{}", ten)), pool.leap_rest(hour, ten)));
  }
  return pool.either(std::move(minutes));
}

RegexId leap_second_rest(RegexPool& pool, std::uint32_t hour, std::uint32_t ten) {
  const RegexId digit = pool.chars(digit_set());
  const RegexId fraction = pool.repeat(pool.concat(pool.literal("."), pool.repeat(digit, 1, kUnbounded)), 0, 1);
  std::vector<RegexId> minutes;
  for (std::uint32_t minute = 10 * ten; minute < 10 * ten + 10; ++minute) {
    // East of Greenwich the clock is ahead by one minute more than this time of day; west it is behind by the rest.
    const std::uint32_t east = (hour * 60 + minute + 1) % 1440, west = 1439 - (hour * 60 + minute);
    std::vector<RegexId> offsets{pool.literal(fmt::format("+{:02}:{:02}", east / 60, east % 60)),
                                 pool.literal(fmt::format("-{:02}:{:02}", west / 60, west % 60))};
    if (east == 0) offsets.push_back(pool.chars(CharSet({{'Z', 'Z'}, {'z', 'z'}})));
    minutes.push_back(pool.concat(pool.literal(fmt::format("{}:60", minute % 10)),
                                  pool.concat(fraction, pool.either(std::move(offsets)))));
  }
  return pool.either(std::move(minutes));
}

bool known_format(std::string_view name) {
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Result<FormatLanguage> format_language(RegexPool& pool, std::string_view name) {
  if (!known_format(name) || name == "idn-hostname" || name == "regex") {
    return unsupported(fmt::format("the format \"{}\" is no regular language, and not enforced", name));
  }
  // Made where it is first asked for: then each schema and grammar of the process goes on from what is known of it.
  struct Made {
    std::once_flag once;
    std::unique_ptr<SharedLanguage> language;
  };
  static std::array<Made, kNames.size()> all;
  Made& made = all[static_cast<std::size_t>(std::find(kNames.begin(), kNames.end(), name) - kNames.begin())];
  std::call_once(made.once, [&] {
    made.language = std::make_unique<SharedLanguage>([&](RegexPool& own) { return spelled(own, name); });
  });
  FormatLanguage f;
  f.pattern = pool.shared(*made.language);
  if (name == "hostname") f.length_max = 253;
  return f;
}

}  // namespace longhaul::tools
