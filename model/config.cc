// config.json in all the spellings the family was published with. The order of work: make the text legal JSON (a bare
// Infinity is not), unwrap multimodal nesting, read each field by its names, then check the fields against each other.
#include "model/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

namespace longhaul::model {
namespace {

namespace dom = simdjson::dom;

// Bounds on what a config may ask for. Ultra's largest width is 35072 and its deepest schedule 108; these leave room
// for models thirty times as wide and keep every product of two of them far from overflow. Chosen, not measured.
constexpr std::size_t kConfigBytesMax = 16 << 20;
constexpr std::int64_t kWidthMax = 1 << 20;
constexpr std::int64_t kVocabularyMax = 1 << 24;
constexpr std::int64_t kInnerMax = 1 << 22;
constexpr std::size_t kLayersMax = 4096;
// Over all layers; Ultra has 24,576. Bounds the list of expected tensors that a hostile config can ask for.
constexpr std::int64_t kExpertsMax = 1 << 18;
// From here on a limit counts as none: published files use 1e20, 1e308 and a bare Infinity for it.
constexpr double kUnbounded = 1e20;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Python's json module writes bare Infinity, -Infinity and NaN. Outside strings they become 1e308, -1e308 and null.
std::string legal_json(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  bool in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\' && i + 1 < text.size()) out.push_back(text[i++]);
      if (c == '"') in_string = false;
      out.push_back(text[i++]);
      continue;
    }
    if (c == '"') in_string = true;
    const bool starts = (c == 'I' || c == 'N') && (i == 0 || !is_word(text[i - 1]));
    bool replaced = false;
    if (starts) {
      for (auto [word, number] :
           {std::pair<std::string_view, std::string_view>{"Infinity", "1e308"}, {"NaN", "null"}}) {
        const std::size_t end = i + word.size();
        if (text.substr(i, word.size()) != word || (end < text.size() && is_word(text[end]))) continue;
        // "-NaN" would leave a lone minus, which the parser refuses, as it should.
        out += number;
        i = end;
        replaced = true;
        break;
      }
    }
    if (!replaced) out.push_back(text[i++]);
  }
  return out;
}

std::string show(const dom::element& value) {
  std::string text = simdjson::minify(value);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

// The fields of one JSON object by name. The first error is kept and later reads give their fallback, so that a list of
// fields can be read without a branch after each; `error()` is asked once at the end.
class Fields {
 public:
  using Names = std::initializer_list<std::string_view>;

  explicit Fields(std::string place) : place_(std::move(place)) {}

  void take(const dom::object& object) {
    for (const auto& member : object) {
      if (!members_.emplace(member.key, member.value).second) {
        fail(corruption(fmt::format("{}: field \"{}\" stands there twice", place_, member.key)));
      }
    }
  }

  bool has(std::string_view name) const {
    auto it = members_.find(name);
    return it != members_.end() && !it->second.is_null();
  }

  const dom::element* find(std::string_view name) const {
    auto it = members_.find(name);
    return it == members_.end() ? nullptr : &it->second;
  }

  // The member that one of the names has. Two aliases may both stand there if they say the same. Null is absent.
  const dom::element* find(Names names, std::string_view* found_name) {
    const dom::element* found = nullptr;
    for (std::string_view name : names) {
      auto it = members_.find(name);
      if (it == members_.end() || it->second.is_null()) continue;
      if (found == nullptr) {
        found = &it->second;
        *found_name = name;
      } else if (show(*found) != show(it->second)) {
        fail(corruption(fmt::format("{}: \"{}\" is {} but \"{}\" is {}", place_, *found_name, show(*found), name,
                                    show(it->second))));
      }
    }
    return found;
  }

  std::int64_t integer(Names names, std::int64_t least, std::int64_t most, std::optional<std::int64_t> fallback = {}) {
    std::string_view name;
    const dom::element* value = find(names, &name);
    if (value == nullptr) {
      if (!fallback) missing(names);
      return fallback.value_or(least);
    }
    std::int64_t number = 0;
    if (value->get_int64().get(number) != simdjson::SUCCESS || number < least || number > most) {
      fail(corruption(fmt::format("{}: field \"{}\" is {}, expected a whole number from {} to {}", place_, name,
                                  show(*value), least, most)));
      return least;
    }
    return number;
  }

  double number(Names names, double least, double most, std::optional<double> fallback = {}) {
    std::string_view name;
    const dom::element* value = find(names, &name);
    if (value == nullptr) {
      if (!fallback) missing(names);
      return fallback.value_or(least);
    }
    double number = 0;
    if (!value->is_number() || value->get_double().get(number) != simdjson::SUCCESS || !(number >= least) ||
        !(number <= most)) {
      fail(corruption(fmt::format("{}: field \"{}\" is {}, expected a number from {} to {}", place_, name, show(*value),
                                  least, most)));
      return least;
    }
    return number;
  }

  bool boolean(Names names, bool fallback) {
    std::string_view name;
    const dom::element* value = find(names, &name);
    if (value == nullptr) return fallback;
    bool result = false;
    if (value->get_bool().get(result) != simdjson::SUCCESS) {
      fail(corruption(fmt::format("{}: field \"{}\" is {}, expected true or false", place_, name, show(*value))));
    }
    return result;
  }

  std::string string(Names names, std::string fallback) {
    std::string_view name;
    const dom::element* value = find(names, &name);
    if (value == nullptr) return fallback;
    std::string_view text;
    if (value->get_string().get(text) != simdjson::SUCCESS) {
      fail(corruption(fmt::format("{}: field \"{}\" is {}, expected a string", place_, name, show(*value))));
    }
    return std::string(text);
  }

  // A field that must have one value for the computation to be the one we do.
  void only_text(std::string_view name, std::string_view value) {
    const std::string text = string({name}, std::string(value));
    if (text != value) {
      fail(unsupported(fmt::format("{}: field \"{}\" is \"{}\", only \"{}\" is computed", place_, name, text, value)));
    }
  }
  void only_flag(std::string_view name, bool value) {
    if (boolean({name}, value) != value) {
      fail(unsupported(fmt::format("{}: field \"{}\" is {}, only {} is computed", place_, name, !value, value)));
    }
  }

  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }
  const std::optional<Error>& error() const { return error_; }
  const std::string& place() const { return place_; }

 private:
  void missing(Names names) { fail(corruption(fmt::format("{}: field \"{}\" is missing", place_, *names.begin()))); }

  std::string place_;
  std::unordered_map<std::string_view, dom::element> members_;
  std::optional<Error> error_;
};

std::optional<LayerKind> layer_of(std::string_view name) {
  if (name == "M" || name == "mamba" || name == "mamba2" || name == "linear_attention") return LayerKind::kMamba;
  if (name == "*" || name == "attention" || name == "full_attention") return LayerKind::kAttention;
  if (name == "E" || name == "moe") return LayerKind::kMoe;
  if (name == "-" || name == "mlp") return LayerKind::kMlp;
  return std::nullopt;
}

struct Schedule {
  std::vector<LayerKind> layers;
  std::vector<LayerKind> mtp;  // Megatron's unified pattern carries the MTP part behind a '/'
};

// "MEM*E": one character a layer; '|' marks a pipeline split and says nothing about the model.
Result<Schedule> schedule_of(std::string_view pattern, std::string_view name, const std::string& place) {
  Schedule schedule;
  std::vector<std::vector<LayerKind>> parts(1);
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '|') continue;
    if (pattern[i] == '/') {
      parts.emplace_back();
      continue;
    }
    auto kind = layer_of(pattern.substr(i, 1));
    if (!kind) {
      return unsupported(fmt::format("{}: field \"{}\" has the layer '{}' at position {}, known are M E * -", place,
                                     name, pattern[i], i));
    }
    parts.back().push_back(*kind);
  }
  schedule.layers = std::move(parts[0]);
  if (parts.size() > 1) {
    schedule.mtp = parts[1];
    // One module is applied again and again, so every further part must repeat the first.
    for (std::size_t i = 2; i < parts.size(); ++i) {
      if (parts[i] != parts[1]) {
        return unsupported(fmt::format("{}: field \"{}\" has MTP parts that differ", place, name));
      }
    }
  }
  return schedule;
}

Result<Schedule> schedule_of(const dom::element& value, std::string_view name, const std::string& place) {
  std::string_view pattern;
  if (value.get_string().get(pattern) == simdjson::SUCCESS) return schedule_of(pattern, name, place);
  dom::array list;
  if (value.get_array().get(list) != simdjson::SUCCESS) {
    return corruption(
        fmt::format("{}: field \"{}\" is {}, expected a string or a list of layer names", place, name, show(value)));
  }
  Schedule schedule;
  for (const dom::element& entry : list) {
    std::string_view text;
    const bool is_text = entry.get_string().get(text) == simdjson::SUCCESS;
    auto kind = is_text ? layer_of(text) : std::nullopt;
    if (!kind) {
      return unsupported(
          fmt::format("{}: field \"{}\" has the layer {} at position {}, known are mamba, moe, attention, mlp", place,
                      name, show(entry), schedule.layers.size()));
    }
    schedule.layers.push_back(*kind);
    if (schedule.layers.size() > kLayersMax) break;
  }
  return schedule;
}

bool uses(const ModelConfig& config, LayerKind kind) {
  return std::count(config.layers.begin(), config.layers.end(), kind) != 0 ||
         std::count(config.mtp_layers.begin(), config.mtp_layers.end(), kind) != 0;
}

Result<void> read_schedule(Fields& fields, ModelConfig& config) {
  const std::string& place = fields.place();
  Schedule schedule;
  std::string_view schedule_name;
  // More than one spelling may stand in a file that was converted; they have to agree.
  for (std::string_view name : {"hybrid_override_pattern", "layers_block_type", "layer_types"}) {
    if (!fields.has(name)) continue;
    auto read = schedule_of(*fields.find(name), name, place);
    if (!read) return read.error();
    if (!schedule_name.empty() && read->layers != schedule.layers) {
      return corruption(fmt::format("{}: fields \"{}\" ({} layers) and \"{}\" ({} layers) differ", place, schedule_name,
                                    schedule.layers.size(), name, read->layers.size()));
    }
    if (schedule_name.empty() || !read->mtp.empty()) schedule = std::move(*read);
    schedule_name = name;
  }
  if (schedule_name.empty()) {
    return corruption(
        fmt::format("{}: no layer schedule (hybrid_override_pattern, layers_block_type or layer_types)", place));
  }
  if (schedule.layers.empty() || schedule.layers.size() > kLayersMax) {
    return corruption(fmt::format("{}: field \"{}\" names {} layers, expected 1 to {}", place, schedule_name,
                                  schedule.layers.size(), kLayersMax));
  }
  config.layers = schedule.layers;

  const auto depth = static_cast<std::int64_t>(config.layers.size());
  const std::int64_t stated = fields.integer({"num_hidden_layers"}, 0, std::numeric_limits<std::int64_t>::max(), depth);
  if (!fields.error() && stated != depth) {
    return corruption(fmt::format("{}: field \"num_hidden_layers\" is {}, but \"{}\" names {} layers", place, stated,
                                  schedule_name, depth));
  }

  const std::int64_t n_mtp = fields.integer({"num_nextn_predict_layers"}, 0, 64, schedule.mtp.empty() ? 0 : 1);
  if (fields.error()) return *fields.error();
  if (n_mtp == 0) return {};
  if (n_mtp > 1) {
    return unsupported(
        fmt::format("{}: field \"num_nextn_predict_layers\" is {}; only one MTP module (applied repeatedly) is read",
                    place, n_mtp));
  }
  std::string_view mtp_name;
  for (std::string_view name : {"mtp_hybrid_override_pattern", "mtp_layers_block_type"}) {
    if (!fields.has(name)) continue;
    auto read = schedule_of(*fields.find(name), name, place);
    if (!read) return read.error();
    if (!mtp_name.empty() && read->layers != config.mtp_layers) {
      return corruption(fmt::format("{}: fields \"{}\" and \"{}\" differ", place, mtp_name, name));
    }
    mtp_name = name;
    config.mtp_layers = read->layers;
  }
  if (mtp_name.empty()) config.mtp_layers = schedule.mtp;
  if (config.mtp_layers.empty() || config.mtp_layers.size() > 16) {
    return corruption(fmt::format("{}: \"num_nextn_predict_layers\" is 1, but the MTP schedule names {} layers", place,
                                  config.mtp_layers.size()));
  }
  if (std::count(config.mtp_layers.begin(), config.mtp_layers.end(), LayerKind::kMamba) != 0) {
    return unsupported(fmt::format("{}: the MTP schedule has a Mamba layer, which is not read", place));
  }
  return {};
}

Error not_a_multiple(const std::string& place, std::string_view a, std::int64_t a_value, std::string_view b,
                     std::int64_t b_value) {
  return corruption(fmt::format("{}: field \"{}\" is {}, not a multiple of \"{}\", {}", place, a, a_value, b, b_value));
}

void read_mamba(Fields& fields, ModelConfig& config) {
  const bool used = uses(config, LayerKind::kMamba);
  const auto optional = used ? std::optional<std::int64_t>{} : std::optional<std::int64_t>{0};
  const std::int64_t least = used ? 1 : 0;
  config.n_mamba_heads = fields.integer({"mamba_num_heads"}, least, 65536, optional);
  config.mamba_head_dim = fields.integer({"mamba_head_dim"}, least, 4096, optional);
  config.d_state = fields.integer({"ssm_state_size", "mamba_d_state", "state_size"}, least, 4096, optional);
  config.n_groups = fields.integer({"n_groups", "mamba_n_groups"}, least, 65536, optional);
  config.d_conv = fields.integer({"conv_kernel", "mamba_d_conv"}, least, 64, used ? std::optional<std::int64_t>{} : 4);
  config.use_conv_bias = fields.boolean({"use_conv_bias", "mamba_conv_bias"}, true);
  // Which of the two a reference reads differs (transformers: use_bias, vLLM: mamba_proj_bias); they are always equal.
  config.mamba_proj_bias = fields.boolean({"use_bias", "mamba_proj_bias"}, false);
  if (!used || fields.error()) return;
  fields.only_text("mamba_hidden_act", "silu");
  if (config.n_mamba_heads % config.n_groups != 0) {
    fields.fail(not_a_multiple(fields.place(), "mamba_num_heads", config.n_mamba_heads, "n_groups", config.n_groups));
  }
  if (config.d_inner() > kInnerMax || 2 * config.n_groups * config.d_state > kInnerMax) {
    fields.fail(corruption(fmt::format("{}: Mamba width {} with 2 * {} groups of state {} is above {}", fields.place(),
                                       config.d_inner(), config.n_groups, config.d_state, kInnerMax)));
  }
  // We do not clamp dt, as the family's kernels do not; a limit that would matter must not be passed over in silence.
  for (std::string_view name : {"time_step_limit", "mamba_dt_limit"}) {
    if (!fields.has(name)) continue;
    const dom::element& value = *fields.find(name);
    dom::array list;
    double low = 0, high = 0;
    bool good = value.get_array().get(list) == simdjson::SUCCESS && list.size() == 2;
    auto read = [](const dom::element& entry, double unbounded, double& out) {
      if (entry.is_null()) {
        out = unbounded;
        return true;
      }
      // transformers >= 5 writes {"__float__": "Infinity"} where older versions wrote the bare word.
      std::string_view word;
      if (entry["__float__"].get_string().get(word) == simdjson::SUCCESS) {
        out = word == "Infinity" ? kUnbounded : word == "-Infinity" ? -kUnbounded : unbounded;
        return word == "Infinity" || word == "-Infinity" || word == "NaN";
      }
      return entry.get_double().get(out) == simdjson::SUCCESS;
    };
    good = good && read(list.at(0).value_unsafe(), 0, low) && read(list.at(1).value_unsafe(), kUnbounded, high);
    if (!good) {
      fields.fail(
          corruption(fmt::format("{}: field \"{}\" is {}, expected two numbers", fields.place(), name, show(value))));
    } else if (low > 0 || high < kUnbounded) {
      fields.fail(
          unsupported(fmt::format("{}: field \"{}\" is {}; dt is not clamped here, so only [0, unbounded] is computed",
                                  fields.place(), name, show(value))));
    }
  }
}

void read_attention(Fields& fields, ModelConfig& config) {
  const bool used = uses(config, LayerKind::kAttention);
  const auto optional = used ? std::optional<std::int64_t>{} : std::optional<std::int64_t>{0};
  const std::int64_t least = used ? 1 : 0;
  config.n_heads = fields.integer({"num_attention_heads"}, least, 65536, optional);
  config.n_kv_heads = fields.integer({"num_key_value_heads"}, least, 65536, optional);
  config.head_dim = fields.integer({"head_dim", "attention_head_dim"}, least, 4096, optional);
  config.attention_bias = fields.boolean({"attention_bias"}, false);
  if (!used || fields.error()) return;
  if (config.n_heads % config.n_kv_heads != 0) {
    fields.fail(not_a_multiple(fields.place(), "num_attention_heads", config.n_heads, "num_key_value_heads",
                               config.n_kv_heads));
  }
  if (config.n_heads * config.head_dim > kInnerMax) {
    fields.fail(corruption(fmt::format("{}: {} attention heads of {} are above {}", fields.place(), config.n_heads,
                                       config.head_dim, kInnerMax)));
  }
  if (fields.has("sliding_window")) {
    fields.fail(unsupported(fmt::format("{}: field \"sliding_window\" is {}, only null is computed", fields.place(),
                                        show(*fields.find("sliding_window")))));
  }
}

void read_experts(Fields& fields, ModelConfig& config) {
  const bool dense = uses(config, LayerKind::kMlp), used = uses(config, LayerKind::kMoe);
  const std::string& place = fields.place();
  config.d_mlp = fields.integer({"intermediate_size"}, dense ? 1 : 0, kWidthMax,
                                dense ? std::optional<std::int64_t>{} : std::optional<std::int64_t>{0});
  config.mlp_bias = fields.boolean({"mlp_bias"}, false);
  if (dense || used) fields.only_text("mlp_hidden_act", "relu2");

  const auto optional = used ? std::optional<std::int64_t>{} : std::optional<std::int64_t>{0};
  const std::int64_t least = used ? 1 : 0;
  config.n_experts = fields.integer({"n_routed_experts", "num_local_experts", "num_experts"}, least, 65536, optional);
  config.n_experts_per_token = fields.integer({"num_experts_per_tok"}, least, 65536, optional);
  config.d_expert = fields.integer({"moe_intermediate_size"}, least, kWidthMax, optional);
  config.d_latent = fields.integer({"moe_latent_size"}, 0, kWidthMax, 0);
  config.d_shared_expert = fields.integer({"moe_shared_expert_intermediate_size"}, least, kWidthMax, optional);
  config.n_expert_groups = fields.integer({"n_group"}, used ? 1 : 0, 65536, 1);
  config.n_top_groups = fields.integer({"topk_group"}, used ? 1 : 0, 65536, 1);
  config.norm_topk_prob = fields.boolean({"norm_topk_prob"}, true);
  config.routed_scaling_factor = static_cast<float>(fields.number({"routed_scaling_factor"}, 1e-6, 1e6, 1.0));
  const std::int64_t n_shared = fields.integer({"n_shared_experts"}, 0, 65536, 1);
  if (!used || fields.error()) return;

  // References disagree on what any other count means (one MLP of the stated width, or of a multiple of it).
  if (n_shared != 1) {
    fields.fail(unsupported(fmt::format("{}: field \"n_shared_experts\" is {}, only 1 is computed", place, n_shared)));
  }
  // And on which of the expert matrices would get a bias.
  if (config.mlp_bias) {
    fields.fail(unsupported(fmt::format("{}: field \"mlp_bias\" is true in a model with experts", place)));
  }
  if (config.n_experts % config.n_expert_groups != 0) {
    fields.fail(not_a_multiple(place, "n_routed_experts", config.n_experts, "n_group", config.n_expert_groups));
    return;
  }
  if (config.n_top_groups > config.n_expert_groups) {
    fields.fail(corruption(fmt::format("{}: field \"topk_group\" is {}, above \"n_group\", {}", place,
                                       config.n_top_groups, config.n_expert_groups)));
  }
  const auto n_layers = std::count(config.layers.begin(), config.layers.end(), LayerKind::kMoe) +
                        std::count(config.mtp_layers.begin(), config.mtp_layers.end(), LayerKind::kMoe);
  if (config.n_experts * n_layers > kExpertsMax) {
    fields.fail(corruption(fmt::format("{}: field \"n_routed_experts\" is {} in {} layers, at most {} in all are read",
                                       place, config.n_experts, n_layers, kExpertsMax)));
  }
  // A group's score is the sum of its two best experts.
  if (config.n_expert_groups > 1 && config.n_experts / config.n_expert_groups < 2) {
    fields.fail(corruption(fmt::format("{}: {} experts in {} groups; a group needs two", place, config.n_experts,
                                       config.n_expert_groups)));
  }
  const std::int64_t n_reachable = config.n_experts / config.n_expert_groups * config.n_top_groups;
  if (config.n_experts_per_token > n_reachable) {
    fields.fail(corruption(fmt::format("{}: field \"num_experts_per_tok\" is {}, but a token can reach {} experts",
                                       place, config.n_experts_per_token, n_reachable)));
  }
}

// A token id, or a list of them.
Result<std::vector<TokenId>> token_ids(const dom::element& value, std::string_view name, const std::string& place,
                                       std::int64_t vocab_size) {
  std::vector<TokenId> ids;
  auto add = [&](const dom::element& entry) -> Result<void> {
    std::int64_t id = 0;
    if (entry.get_int64().get(id) != simdjson::SUCCESS || id < 0 || id >= vocab_size) {
      return corruption(
          fmt::format("{}: field \"{}\" is {}, expected token ids below {}", place, name, show(value), vocab_size));
    }
    ids.push_back(static_cast<TokenId>(id));
    return {};
  };
  dom::array list;
  if (value.get_array().get(list) != simdjson::SUCCESS) {
    auto added = add(value);
    if (!added) return added.error();
    return ids;
  }
  for (const dom::element& entry : list) {
    auto added = add(entry);
    if (!added) return added.error();
  }
  return ids;
}

Result<dom::object> parse_object(dom::parser& parser, std::string_view text, const std::string& place) {
  if (text.size() > kConfigBytesMax) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("{}: {} bytes, at most {}", place, text.size(), kConfigBytesMax));
  }
  dom::element root;
  // The parser copies the text into its own padded buffer, and the strings into its own string buffer.
  if (auto error = parser.parse(legal_json(text)).get(root); error != simdjson::SUCCESS) {
    return corruption(fmt::format("{}: not JSON: {}", place, simdjson::error_message(error)));
  }
  dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) {
    return corruption(fmt::format("{}: not a JSON object", place));
  }
  return object;
}

Result<void> read_end_tokens(Fields& fields, std::string_view generation_config_json, std::string place,
                             ModelConfig& config) {
  auto add = [&](const dom::element& value, const std::string& place) -> Result<void> {
    auto ids = token_ids(value, "eos_token_id", place, config.vocab_size);
    if (!ids) return ids.error();
    config.eos_tokens.insert(config.eos_tokens.end(), ids->begin(), ids->end());
    return {};
  };
  if (fields.has("eos_token_id")) {
    auto added = add(*fields.find("eos_token_id"), fields.place());
    if (!added) return added.error();
  }
  if (!generation_config_json.empty()) {
    constexpr std::string_view kName = "config.json";
    if (place.ends_with(kName)) place.resize(place.size() - kName.size());
    place += "generation_config.json";
    dom::parser parser;
    auto object = parse_object(parser, generation_config_json, place);
    if (!object) return object.error();
    dom::element value;
    if (object->at_key("eos_token_id").get(value) == simdjson::SUCCESS && !value.is_null()) {
      auto added = add(value, place);
      if (!added) return added.error();
    }
  }
  std::sort(config.eos_tokens.begin(), config.eos_tokens.end());
  config.eos_tokens.erase(std::unique(config.eos_tokens.begin(), config.eos_tokens.end()), config.eos_tokens.end());
  return {};
}

Result<ModelConfig> read_config(Fields& fields, std::string_view generation_config_json, std::string_view file) {
  ModelConfig config;
  const std::string& place = fields.place();
  fields.only_text("model_type", "nemotron_h");
  if (fields.has("block_configs")) {
    return unsupported(fmt::format("{}: field \"block_configs\": layers that differ in size are not read", place));
  }
  const std::string dtype = fields.string({"torch_dtype", "dtype"}, "bfloat16");
  static const std::set<std::string, std::less<>> kTypes = {"bfloat16", "float32", "float16"};
  if (!kTypes.contains(dtype.starts_with("torch.") ? dtype.substr(6) : dtype)) {
    fields.fail(unsupported(fmt::format("{}: field \"dtype\" is \"{}\"", place, dtype)));
  }

  config.d_model = fields.integer({"hidden_size"}, 1, kWidthMax);
  config.vocab_size = fields.integer({"vocab_size"}, 1, kVocabularyMax);
  config.norm_eps =
      static_cast<float>(fields.number({"layer_norm_epsilon", "norm_eps", "rms_norm_eps"}, 1e-30, 1.0, 1e-5));
  config.tie_word_embeddings = fields.boolean({"tie_word_embeddings"}, false);
  config.max_position_embeddings =
      fields.integer({"max_position_embeddings"}, 0, std::numeric_limits<std::int64_t>::max(), 0);
  fields.only_flag("residual_in_fp32", false);
  if (fields.error()) return *fields.error();
  if (auto schedule = read_schedule(fields, config); !schedule) return schedule.error();
  read_mamba(fields, config);
  read_attention(fields, config);
  read_experts(fields, config);
  config.bos_token = static_cast<TokenId>(
      fields.integer({"bos_token_id"}, 0, config.vocab_size - 1, std::min<std::int64_t>(1, config.vocab_size - 1)));
  config.chat_format = fields.string({"longhaul_chat_format"}, "");
  if (config.chat_format != "" && config.chat_format != "nano" && config.chat_format != "ultra") {
    fields.fail(corruption(fmt::format("{}: field \"longhaul_chat_format\" is \"{}\", expected \"nano\" or \"ultra\"",
                                       place, config.chat_format)));
  }
  if (fields.error()) return *fields.error();
  if (auto ends = read_end_tokens(fields, generation_config_json, std::string(file), config); !ends)
    return ends.error();
  return config;
}

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view config_json, std::string_view generation_config_json,
                                       std::string_view place) {
  dom::parser parser;
  auto object = parse_object(parser, config_json, std::string(place));
  if (!object) return object.error();
  std::string where(place);
  // A multimodal wrapper holds the language model's config one level down.
  for (const char* wrapper : {"llm_config", "text_config"}) {
    dom::object inner;
    if (object->at_key(wrapper).get_object().get(inner) == simdjson::SUCCESS) {
      *object = inner;
      where += fmt::format(" ({})", wrapper);
      break;
    }
  }
  Fields fields(where);
  fields.take(*object);
  if (fields.error()) return *fields.error();
  return read_config(fields, generation_config_json, place);
}

}  // namespace longhaul::model
