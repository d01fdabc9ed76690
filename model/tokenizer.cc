// Reads tokenizer.json and refuses, by name, what it would not do exactly as `tokenizers` does: normalizers, decoders
// and models of other kinds, dropout, byte fallback, affixes. The file's byte-level strings (each byte a printable
// character, GPT-2's table) are turned into bytes at once; from there on everything works on bytes.
#include "model/tokenizer.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/split_pattern.h"
#include "model/utf8.h"
#include "runtime/base/file.h"

namespace longhaul::model {
namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kFileBytesMax = 256 << 20;
constexpr std::size_t kTokensMax = 1 << 20;
// A longer added token would make the search for it slow on text that nearly matches. Chosen, not measured.
constexpr std::size_t kAddedBytesMax = 1024;

// GPT-2's own pattern, used by a ByteLevel pre-tokenizer with use_regex.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The character that stands for each byte: printable Latin-1 for itself, the others from U+0100 on in order.
std::array<std::uint32_t, 256> byte_characters() {
  std::array<std::uint32_t, 256> table = {};
  std::uint32_t next = 0x100;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    table[byte] = printable ? byte : next++;
  }
  return table;
}

// The bytes that a byte-level string stands for; nothing if it holds a character that stands for none.
std::optional<std::string> to_bytes(std::string_view text) {
  static const auto reverse = [] {
    std::array<std::int16_t, 0x180> table;
    table.fill(-1);
    const auto characters = byte_characters();
    for (std::size_t byte = 0; byte < 256; ++byte) table[characters[byte]] = static_cast<std::int16_t>(byte);
    return table;
  }();
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = next_utf8(text);
    if (step.kind != Utf8Step::Kind::kCharacter || step.code_point >= reverse.size() || reverse[step.code_point] < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(reverse[step.code_point]));
    text.remove_prefix(step.length);
  }
  return out;
}

bool is_scaffolding_name(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "<s>",      "</s>",        "<unk>",        "<|im_start|>",    "<|im_end|>",      "<think>",
      "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"};
  if (std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames)) return true;
  if (!name.starts_with("<SPECIAL_") || !name.ends_with(">") || name.size() < 11) return false;
  const std::string_view digits = name.substr(9, name.size() - 10);
  return digits.find_first_not_of("0123456789") == std::string_view::npos;
}

bool is_null(const dom::object& object, std::string_view key) {
  dom::element value;
  return object.at_key(key).get(value) != simdjson::SUCCESS || value.is_null();
}

std::string show(const dom::element& value) {
  std::string text = simdjson::minify(value);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

// One step of the pre-tokenizer: a pattern, and what becomes of its matches.
struct SplitStep {
  std::unique_ptr<SplitPattern> pattern;
  bool drop_matches = false;
  bool drop_others = false;
};

// Everything a tokenizer is made of.
struct Parts {
  Vocabulary vocabulary;
  std::vector<SplitStep> steps;
  std::optional<Bpe> bpe;
  // Looked for in this order; the pair for content leaves control tokens out.
  AddedTokens plain, normalized, plain_content, normalized_content;
  std::vector<TokenId> prefix;

  void encode_piece(std::string_view text, std::size_t step, std::vector<TokenId>& out) const;
  void encode_text(std::string_view text, std::vector<TokenId>& out) const;
  std::vector<TokenId> encode(std::string_view text, const AddedTokens& first, const AddedTokens& second) const;
};

// `text` is valid UTF-8.
void Parts::encode_piece(std::string_view text, std::size_t step, std::vector<TokenId>& out) const {
  if (step == steps.size()) {
    bpe->encode(text, out);
    return;
  }
  const SplitStep& split = steps[step];
  split.pattern->split(text, [&](std::size_t begin, std::size_t end, bool is_match) {
    if (is_match ? split.drop_matches : split.drop_others) return;
    encode_piece(text.substr(begin, end - begin), step + 1, out);
  });
}

void Parts::encode_text(std::string_view text, std::vector<TokenId>& out) const {
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = begin;
    const bool valid = next_utf8(text.substr(begin)).kind == Utf8Step::Kind::kCharacter;
    while (end < text.size()) {
      if (static_cast<std::uint8_t>(text[end]) < 0x80) {
        if (!valid) break;
        ++end;
        continue;
      }
      const Utf8Step next = next_utf8(text.substr(end));
      if ((next.kind == Utf8Step::Kind::kCharacter) != valid) break;
      end += next.length;
    }
    const std::string_view run = text.substr(begin, end - begin);
    if (valid) {
      encode_piece(run, 0, out);
    } else {
      bpe->encode(run, out);
    }
    begin = end;
  }
}

std::vector<TokenId> Parts::encode(std::string_view text, const AddedTokens& first, const AddedTokens& second) const {
  std::vector<TokenId> out;
  out.reserve(text.size() / 3 + 1);
  auto after_first = [&](std::string_view piece, std::optional<TokenId> id) {
    if (id) {
      out.push_back(*id);
      return;
    }
    if (second.empty()) {
      encode_text(piece, out);
      return;
    }
    second.split(piece, [&](std::string_view inner, std::optional<TokenId> inner_id) {
      if (inner_id) {
        out.push_back(*inner_id);
      } else {
        encode_text(inner, out);
      }
    });
  };
  first.split(text, after_first);
  return out;
}

// Reads one tokenizer.json. Each read_ function fills its part of `parts` or returns what is wrong, with the place.
class Reader {
 public:
  Reader(std::string_view place, Parts& parts) : place_(place), parts_(parts) {}

  Result<void> read(std::string_view text);

 private:
  Error wrong(std::string_view what) const { return corruption(fmt::format("{}: {}", place_, what)); }
  Error refused(std::string_view what) const { return unsupported(fmt::format("{}: {}", place_, what)); }

  Result<void> read_normalizer(const dom::object& root);
  Result<void> read_pre_tokenizer(const dom::element& value, int depth);
  Result<void> read_split(const dom::object& object);
  Result<void> read_decoder(const dom::object& root);
  Result<void> read_model(const dom::object& root);
  Result<void> read_vocabulary(const dom::object& model);
  Result<void> read_added_tokens(const dom::object& root);
  Result<void> read_merges(const dom::object& model);
  Result<void> read_post_processor(const dom::element& value);
  Result<void> add_pattern(std::string_view pattern, bool drop_matches, bool drop_others);

  std::string place_;
  Parts& parts_;
  std::vector<Vocabulary::Token> tokens_;
  std::vector<bool> assigned_;
  std::unordered_map<std::string_view, TokenId> by_name_;  // the model's vocabulary as written (parser's memory)
  bool byte_level_ = false;
};

Result<void> Reader::add_pattern(std::string_view pattern, bool drop_matches, bool drop_others) {
  if (byte_level_) return refused("a split behind ByteLevel in the pre-tokenizer is not supported");
  auto compiled = SplitPattern::compile(pattern);
  if (!compiled) return with_context(place_ + ": pre_tokenizer", compiled.error());
  parts_.steps.push_back({std::move(*compiled), drop_matches, drop_others});
  return {};
}

Result<void> Reader::read_normalizer(const dom::object& root) {
  if (is_null(root, "normalizer")) return {};
  dom::element value = root["normalizer"];
  dom::array list;
  std::string_view type;
  // An empty sequence does nothing.
  if (value["type"].get_string().get(type) == simdjson::SUCCESS && type == "Sequence" &&
      value["normalizers"].get_array().get(list) == simdjson::SUCCESS && list.size() == 0) {
    return {};
  }
  return refused(fmt::format("normalizer {} is not supported", show(value)));
}

Result<void> Reader::read_split(const dom::object& object) {
  std::string_view behavior, text;
  bool invert = false;
  dom::object pattern;
  if (object["behavior"].get_string().get(behavior) != simdjson::SUCCESS ||
      object["pattern"].get_object().get(pattern) != simdjson::SUCCESS) {
    return wrong("pre_tokenizer Split without behavior or pattern");
  }
  if (!is_null(object, "invert") && object["invert"].get_bool().get(invert) != simdjson::SUCCESS) {
    return wrong("pre_tokenizer Split: invert is not true or false");
  }
  if (behavior != "Isolated" && behavior != "Removed") {
    return refused(fmt::format("pre_tokenizer Split: behavior \"{}\" is not supported", behavior));
  }
  std::string regex;
  if (pattern["Regex"].get_string().get(text) == simdjson::SUCCESS) {
    regex = text;
  } else if (pattern["String"].get_string().get(text) == simdjson::SUCCESS) {
    regex = quote_pattern(text);
  } else {
    return wrong("pre_tokenizer Split: pattern is neither Regex nor String");
  }
  const bool removed = behavior == "Removed";
  return add_pattern(regex, removed && !invert, removed && invert);
}

Result<void> Reader::read_pre_tokenizer(const dom::element& value, int depth) {
  dom::object object;
  std::string_view type;
  if (depth > 4 || value.get_object().get(object) != simdjson::SUCCESS ||
      object["type"].get_string().get(type) != simdjson::SUCCESS) {
    return wrong(fmt::format("pre_tokenizer {} is not understood", show(value)));
  }
  if (type == "Sequence") {
    dom::array list;
    if (object["pretokenizers"].get_array().get(list) != simdjson::SUCCESS || list.size() > 16) {
      return wrong("pre_tokenizer Sequence without a list of at most 16 steps");
    }
    for (const dom::element& entry : list) {
      if (auto read = read_pre_tokenizer(entry, depth + 1); !read) return read;
    }
    return {};
  }
  if (type == "Split") return read_split(object);
  if (type != "ByteLevel") return refused(fmt::format("pre_tokenizer \"{}\" is not supported", type));
  if (byte_level_) return refused("ByteLevel twice in the pre-tokenizer is not supported");
  bool prefix_space = true, use_regex = true;  // the library's own defaults
  for (auto [name, flag] : {std::pair{"add_prefix_space", &prefix_space}, {"use_regex", &use_regex}}) {
    if (!is_null(object, name) && object[name].get_bool().get(*flag) != simdjson::SUCCESS) {
      return wrong(fmt::format("pre_tokenizer ByteLevel: {} is not true or false", name));
    }
  }
  if (prefix_space) return refused("pre_tokenizer ByteLevel: add_prefix_space true is not supported");
  if (use_regex) {
    if (auto added = add_pattern(kGpt2Pattern, false, false); !added) return added;
  }
  byte_level_ = true;
  return {};
}

Result<void> Reader::read_decoder(const dom::object& root) {
  std::string_view type;
  if (root["decoder"]["type"].get_string().get(type) != simdjson::SUCCESS || type != "ByteLevel") {
    return refused(fmt::format("decoder \"{}\" is not supported, ByteLevel is", type));
  }
  return {};
}

Result<void> Reader::read_vocabulary(const dom::object& model) {
  dom::object vocab;
  if (model["vocab"].get_object().get(vocab) != simdjson::SUCCESS) return wrong("model.vocab is not an object");
  for (const auto& member : vocab) {
    std::uint64_t id = 0;
    if (member.value.get_uint64().get(id) != simdjson::SUCCESS || id >= kTokensMax) {
      return wrong(fmt::format("model.vocab: id of \"{}\" is {}, expected a whole number below {}", member.key,
                               show(member.value), kTokensMax));
    }
    if (id >= tokens_.size()) {
      tokens_.resize(id + 1);
      assigned_.resize(id + 1);
    }
    if (assigned_[id]) return wrong(fmt::format("model.vocab: id {} stands there twice", id));
    if (!by_name_.emplace(member.key, static_cast<TokenId>(id)).second) {
      return wrong(fmt::format("model.vocab: token \"{}\" stands there twice", member.key));
    }
    assigned_[id] = true;
    auto bytes = to_bytes(member.key);
    // What is not byte-level can only be reached as an added token; it prints as it is written.
    tokens_[id].bytes = bytes ? std::move(*bytes) : std::string(member.key);
    tokens_[id].control = is_scaffolding_name(member.key);
  }
  return {};
}

Result<void> Reader::read_added_tokens(const dom::object& root) {
  if (is_null(root, "added_tokens")) return {};
  dom::array list;
  if (root["added_tokens"].get_array().get(list) != simdjson::SUCCESS) return wrong("added_tokens is not a list");
  std::unordered_set<std::string_view> seen;
  for (const dom::element& entry : list) {
    std::string_view content;
    std::uint64_t id = 0;
    if (entry["content"].get_string().get(content) != simdjson::SUCCESS ||
        entry["id"].get_uint64().get(id) != simdjson::SUCCESS || id >= kTokensMax) {
      return wrong(fmt::format("added_tokens: {} has no content or no id below {}", show(entry), kTokensMax));
    }
    if (content.empty() || content.size() > kAddedBytesMax) {
      return wrong(fmt::format("added_tokens: content of {} bytes, expected 1 to {}", content.size(), kAddedBytesMax));
    }
    if (!seen.insert(content).second) return wrong(fmt::format("added_tokens: \"{}\" stands there twice", content));
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.content = std::string(content);
    for (auto [name, flag] : {std::pair{"single_word", &token.single_word},
                              {"lstrip", &token.lstrip},
                              {"rstrip", &token.rstrip},
                              {"normalized", &token.normalized},
                              {"special", &token.special}}) {
      dom::element value;
      if (entry[name].get(value) == simdjson::SUCCESS && value.get_bool().get(*flag) != simdjson::SUCCESS) {
        return wrong(fmt::format("added_tokens: \"{}\": {} is {}", content, name, show(value)));
      }
    }
    if (auto it = by_name_.find(content); it != by_name_.end() && it->second != token.id) {
      return wrong(fmt::format("added_tokens: \"{}\" has id {}, in model.vocab it has {}", content, id, it->second));
    }
    if (id >= tokens_.size()) {
      tokens_.resize(id + 1);
      assigned_.resize(id + 1);
    }
    if (assigned_[id] && !by_name_.contains(content)) {
      return wrong(fmt::format("added_tokens: id {} of \"{}\" belongs to another token", id, content));
    }
    assigned_[id] = true;
    tokens_[id].bytes = token.content;
    tokens_[id].control = token.special || is_scaffolding_name(content);
    const bool control = tokens_[id].control;
    if (!control) (token.normalized ? parts_.normalized_content : parts_.plain_content).add(token);
    (token.normalized ? parts_.normalized : parts_.plain).add(std::move(token));
  }
  return {};
}

Result<void> Reader::read_merges(const dom::object& model) {
  dom::array list;
  if (model["merges"].get_array().get(list) != simdjson::SUCCESS) return wrong("model.merges is not a list");
  parts_.bpe.emplace(list.size());
  std::uint32_t rank = 0;
  for (const dom::element& entry : list) {
    std::string_view left, right;
    dom::array pair;
    if (entry.get_array().get(pair) == simdjson::SUCCESS) {
      if (pair.size() != 2 || pair.at(0).get_string().get(left) != simdjson::SUCCESS ||
          pair.at(1).get_string().get(right) != simdjson::SUCCESS) {
        return wrong(fmt::format("model.merges: number {} is {}, expected two strings", rank, show(entry)));
      }
    } else {
      std::string_view text;
      const bool is_text = entry.get_string().get(text) == simdjson::SUCCESS;
      const std::size_t space = text.find(' ');
      if (!is_text || space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        return wrong(fmt::format("model.merges: number {} is {}, expected two tokens", rank, show(entry)));
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    }
    TokenId ids[3] = {};
    const std::string whole = std::string(left) + std::string(right);
    for (auto [name, id] : {std::pair<std::string_view, TokenId*>{left, &ids[0]}, {right, &ids[1]}, {whole, &ids[2]}}) {
      auto it = by_name_.find(name);
      if (it == by_name_.end()) {
        return wrong(fmt::format("model.merges: number {}: \"{}\" is not in model.vocab", rank, name));
      }
      *id = it->second;
    }
    // Text must never become a control token.
    if (!tokens_[ids[2]].control) parts_.bpe->add_merge(ids[0], ids[1], rank, ids[2]);
    ++rank;
  }
  return {};
}

Result<void> Reader::read_model(const dom::object& root) {
  dom::object model;
  if (root["model"].get_object().get(model) != simdjson::SUCCESS) return wrong("no model");
  std::string_view type = "BPE";
  if (!is_null(model, "type") && (model["type"].get_string().get(type) != simdjson::SUCCESS || type != "BPE")) {
    return refused(fmt::format("model type \"{}\" is not supported, BPE is", type));
  }
  for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    std::string_view text = "?";
    if (is_null(model, name)) continue;
    dom::element value = model[name];
    double number = 1;
    if (value.get_string().get(text) == simdjson::SUCCESS && text.empty()) continue;
    if (value.get_double().get(number) == simdjson::SUCCESS && number == 0) continue;
    return refused(fmt::format("model.{} {} is not supported", name, show(value)));
  }
  bool flag = false;
  if (!is_null(model, "byte_fallback") && (model["byte_fallback"].get_bool().get(flag) != simdjson::SUCCESS || flag)) {
    return refused("model.byte_fallback is not supported");
  }
  bool ignore_merges = false;
  if (!is_null(model, "ignore_merges") && model["ignore_merges"].get_bool().get(ignore_merges) != simdjson::SUCCESS) {
    return wrong("model.ignore_merges is not true or false");
  }
  if (auto read = read_vocabulary(model); !read) return read;
  if (auto read = read_added_tokens(root); !read) return read;
  if (auto read = read_merges(model); !read) return read;

  // A byte without a token would be dropped in silence, or become <unk>; the family's vocabularies have all of them.
  const auto characters = byte_characters();
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::string name;
    if (characters[byte] < 0x80) {
      name.push_back(static_cast<char>(characters[byte]));
    } else {
      name.push_back(static_cast<char>(0xC0 | characters[byte] >> 6));
      name.push_back(static_cast<char>(0x80 | (characters[byte] & 0x3F)));
    }
    auto it = by_name_.find(name);
    if (it == by_name_.end() || tokens_[it->second].control) {
      return refused(fmt::format("model.vocab has no token for the byte 0x{:02x}", byte));
    }
    parts_.bpe->set_byte(static_cast<std::uint8_t>(byte), it->second);
  }

  // Ids without a token never come out of text and print nothing.
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    if (!assigned_[id]) tokens_[id].control = true;
  }
  std::vector<TokenId> words;
  if (ignore_merges) {
    for (const auto& [name, id] : by_name_) {
      if (!tokens_[id].control && to_bytes(name)) words.push_back(id);
    }
  }
  parts_.vocabulary = Vocabulary(std::move(tokens_));
  for (TokenId id : words) parts_.bpe->add_word(parts_.vocabulary.bytes(id), id);
  return {};
}

// Only which ids a raw completion begins with is of interest.
Result<void> Reader::read_post_processor(const dom::element& value) {
  std::string_view type;
  if (value["type"].get_string().get(type) != simdjson::SUCCESS) return wrong("post_processor without a type");
  if (type == "Sequence") {
    dom::array list;
    if (value["processors"].get_array().get(list) != simdjson::SUCCESS) return wrong("post_processor Sequence");
    for (const dom::element& entry : list) {
      std::string_view inner;
      if (entry["type"].get_string().get(inner) == simdjson::SUCCESS && inner != "Sequence") {
        if (auto read = read_post_processor(entry); !read) return read;
      }
    }
    return {};
  }
  if (type != "TemplateProcessing") return {};
  dom::array single;
  if (value["single"].get_array().get(single) != simdjson::SUCCESS)
    return wrong("post_processor: no template \"single\"");
  for (const dom::element& entry : single) {
    std::string_view name;
    if (entry["SpecialToken"]["id"].get_string().get(name) != simdjson::SUCCESS) break;
    dom::array ids;
    if (value["special_tokens"][name]["ids"].get_array().get(ids) != simdjson::SUCCESS) {
      return wrong(fmt::format("post_processor: no ids for \"{}\"", name));
    }
    for (const dom::element& number : ids) {
      std::uint64_t id = 0;
      if (number.get_uint64().get(id) != simdjson::SUCCESS || id >= parts_.vocabulary.size()) {
        return wrong(fmt::format("post_processor: id {} of \"{}\" is not in the vocabulary", show(number), name));
      }
      parts_.prefix.push_back(static_cast<TokenId>(id));
    }
  }
  return {};
}

Result<void> Reader::read(std::string_view text) {
  dom::parser parser;
  dom::element root;
  if (auto error = parser.parse(simdjson::padded_string(text)).get(root); error != simdjson::SUCCESS) {
    return wrong(fmt::format("not JSON: {}", simdjson::error_message(error)));
  }
  dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) return wrong("not a JSON object");
  if (!is_null(object, "truncation")) return refused("truncation is not supported");
  if (auto read = read_normalizer(object); !read) return read;
  if (is_null(object, "pre_tokenizer")) return refused("no pre_tokenizer; ByteLevel is needed");
  if (auto read = read_pre_tokenizer(object["pre_tokenizer"], 0); !read) return read;
  if (!byte_level_) return refused("no ByteLevel in the pre_tokenizer");
  if (auto read = read_decoder(object); !read) return read;
  if (auto read = read_model(object); !read) return read;
  if (!is_null(object, "post_processor")) {
    if (auto read = read_post_processor(object["post_processor"]); !read) return read;
  }
  return {};
}

}  // namespace

struct Tokenizer::Impl : Parts {};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::parse(std::string_view tokenizer_json, std::string_view place) {
  auto impl = std::make_unique<Impl>();
  if (auto read = Reader(place, *impl).read(tokenizer_json); !read) return read.error();
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  auto text = read_file(path, kFileBytesMax);
  if (!text) return text.error();
  return parse(*text, path);
}

const Vocabulary& Tokenizer::vocabulary() const {
  return impl_->vocabulary;
}
const std::vector<TokenId>& Tokenizer::prefix_tokens() const {
  return impl_->prefix;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
  return impl_->encode(text, impl_->plain, impl_->normalized);
}

std::vector<TokenId> Tokenizer::encode_content(std::string_view text) const {
  return impl_->encode(text, impl_->plain_content, impl_->normalized_content);
}

Result<std::string> Tokenizer::decode(std::span<const TokenId> ids, bool with_control) const {
  std::string out;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= impl_->vocabulary.size()) {
      return invalid_argument(
          fmt::format("token {} at position {}: the vocabulary has {} tokens", ids[i], i, impl_->vocabulary.size()));
    }
    if (with_control || !impl_->vocabulary.is_control(ids[i])) out += impl_->vocabulary.bytes(ids[i]);
  }
  return out;
}

Result<void> check_vocabulary(const Vocabulary& vocabulary, std::int64_t vocab_size, std::string_view place) {
  if (static_cast<std::int64_t>(vocabulary.size()) > vocab_size) {
    return corruption(fmt::format("{}: the tokenizer has {} tokens, the model computes {} logits", place,
                                  vocabulary.size(), vocab_size));
  }
  return {};
}

}  // namespace longhaul::model
