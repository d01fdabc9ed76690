#include "tools/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>

#include "tools/automaton.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

constexpr std::size_t kMaskBytesMax = 64 << 20;    // of cached masks
constexpr std::size_t kTableBytesMax = 256 << 20;  // of interned states, before refreshed() starts anew

std::uint64_t mask_key(std::uint32_t id, std::uint32_t count) {
  return (std::uint64_t{id} << 32) | count;
}

}  // namespace

// Everything that grows while a grammar is used.
class GrammarTables {
 public:
  explicit GrammarTables(const GrammarProgram& program) : program_(program), automaton_(program, interner_) {
    states_.emplace_back();  // 0: nothing
    state_ids_.emplace(0, 0);
  }

  State intern(std::vector<Config>& configs) {
    if (configs.empty()) return {};
    State state;
    bool counted = false;
    for (const Config& config : configs) {
      if (!counts(config.top.kind)) continue;
      state.count = counted ? std::min(state.count, config.count) : config.count;
      counted = true;
    }
    std::vector<std::uint32_t> frames;
    for (Config& config : configs) {
      if (counts(config.top.kind)) config.top.delta = config.count - state.count;
      frames.push_back(interner_.frame(config.top));
    }
    std::sort(frames.begin(), frames.end());
    frames.erase(std::unique(frames.begin(), frames.end()), frames.end());
    std::uint64_t h = frames.size();
    for (const std::uint32_t id : frames) h = (h ^ id) * 0xD6E8FEB86659FD93ULL;
    const auto [from, to] = state_ids_.equal_range(h);
    for (auto at = from; at != to; ++at) {
      if (states_[at->second] == frames) {
        state.id = at->second;
        return state;
      }
    }
    state.id = static_cast<std::uint32_t>(states_.size());
    bytes_ += 64 + 4 * frames.size();
    states_.push_back(std::move(frames));
    state_ids_.emplace(h, state.id);
    return state;
  }

  void expand(State state, std::vector<Config>& configs) const {
    configs.clear();
    if (state.id >= states_.size()) return;
    for (const std::uint32_t id : states_[state.id]) {
      Config config;
      config.top = interner_.frame(id);
      if (counts(config.top.kind)) {
        config.count = state.count + config.top.delta;
        config.top.delta = 0;
      }
      configs.push_back(config);
    }
  }

  State start(bool thinking) {
    std::vector<Config> configs{automaton_.start(thinking)};
    return intern(configs);
  }

  bool run(std::vector<Config>& configs, std::string_view bytes) {
    std::vector<Config> next;
    for (char c : bytes) {
      automaton_.step(configs, static_cast<std::uint8_t>(c), next);
      configs.swap(next);
      if (configs.empty()) return false;
    }
    return true;
  }

  // A control token, or a text token's bytes.
  bool run(std::vector<Config>& configs, TokenId token) {
    const model::Vocabulary& v = *program_.index->vocabulary;
    if (token >= v.size()) return false;
    if (v.is_control(token) || is_stop(token)) {
      std::vector<Config> next;
      automaton_.step_control(configs, token, next);
      configs.swap(next);
      return !configs.empty();
    }
    return !v.bytes(token).empty() && run(configs, v.bytes(token));
  }

  bool is_stop(TokenId token) const { return std::binary_search(program_.stop.begin(), program_.stop.end(), token); }

  std::shared_ptr<const model::TokenMask> mask(State state) {
    std::vector<Config> configs;
    expand(state, configs);
    bool near_limit = false;
    for (const Config& config : configs) near_limit = near_limit || is_near_limit(config);
    const std::uint64_t key = mask_key(state.id, near_limit ? state.count + 1 : 0);
    if (const auto known = masks_.find(key); known != masks_.end()) {
      order_.splice(order_.begin(), order_, known->second.place);
      return known->second.mask;
    }
    auto made = std::make_shared<model::TokenMask>(compute(configs, near_limit));
    const std::size_t size = made->words().size() * 8 + 128;
    order_.push_front(key);
    masks_.emplace(key, Cached{made, order_.begin()});
    mask_bytes_ += size;
    while (mask_bytes_ > kMaskBytesMax && masks_.size() > 1) {
      masks_.erase(order_.back());
      order_.pop_back();
      mask_bytes_ -= size;
    }
    return made;
  }

  // Whether a token can reach the string's bounds from here, so that the count matters to the mask.
  bool is_near_limit(const Config& config) const {
    if (!counts(config.top.kind)) return false;
    const auto [min, max] = automaton_.limits(config);
    const auto reach = static_cast<std::uint32_t>(program_.index->longest_token + automaton_.pending(config));
    return (max != kNoLimit && config.count + std::uint64_t{reach} + 1 > max) ||
           (min > 0 && config.count < std::uint64_t{min} + reach);
  }

  model::TokenMask compute(const std::vector<Config>& configs, bool near_limit) {
    model::TokenMask mask(program_.index->vocabulary->size());
    const TokenTrie* trie = program_.index->all.get();
    if (configs.size() == 1) {
      const Frame& f = configs[0].top;
      const bool must_call =
          program_.options.choice == ToolChoice::kRequired || program_.options.choice == ToolChoice::kNamed;
      if (f.kind == FrameKind::kThink || (f.kind == FrameKind::kContent && !must_call)) {
        mask = program_.index->text;
        trie = nullptr;
      } else if (f.phase == kUtf8Between && !near_limit && stays_in_string(f)) {
        mask = program_.index->in_string;
        trie = program_.index->not_in_string.get();
      } else if (f.phase == kUtf8Between && !near_limit && stays_in_raw(f)) {
        mask = program_.index->in_raw;
        trie = program_.index->not_in_raw.get();
      }
    }
    if (trie != nullptr) walk(configs, *trie, mask);
    std::vector<Config> after;
    auto control = [&](TokenId token) {
      if (token == kNoToken) return;
      automaton_.step_control(configs, token, after);
      if (after.empty()) {
        mask.forbid(token);
      } else {
        mask.allow(token);
      }
    };
    control(program_.think_close);
    control(program_.call_open);
    control(program_.call_close);
    for (const TokenId token : program_.stop) control(token);
    return mask;
  }

  // Any plain text may follow: in a string that is no member of a set, in a key that may be any.
  static bool stays_in_string(const Frame& f) {
    return (f.kind == FrameKind::kString && f.a == kOff) ||
           (f.kind == FrameKind::kKey && (f.flags & kMayLeaveTrie) != 0);
  }

  // Any text without a line end may follow in a raw value, since the terminator has one before its end. Not so close to
  // that end that none is left.
  bool stays_in_raw(const Frame& f) const {
    const std::string& close = program_.options.format.value_close;
    return f.kind == FrameKind::kRaw && close.ends_with('\n') && program_.tries[f.a].depth < close.size();
  }

  void walk(const std::vector<Config>& configs, const TokenTrie& trie, model::TokenMask& mask) {
    if (path_.size() < trie.depth_max() + 1) path_.resize(trie.depth_max() + 1);
    path_[0] = configs;
    const auto nodes = trie.nodes();
    for (std::size_t i = 0; i < nodes.size();) {
      const TokenTrie::Node& node = nodes[i];
      automaton_.step(path_[node.depth - 1U], node.byte, path_[node.depth]);
      if (path_[node.depth].empty()) {
        i = node.end;
        continue;
      }
      for (const TokenId id : trie.ids(node)) mask.allow(id);
      ++i;
    }
  }

  std::mutex mutex;
  const GrammarProgram& program_;
  Interner interner_;
  Automaton automaton_;
  std::vector<std::vector<std::uint32_t>> states_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> state_ids_;
  std::size_t bytes_ = 0;
  struct Cached {
    std::shared_ptr<const model::TokenMask> mask;
    std::list<std::uint64_t>::iterator place;
  };
  std::unordered_map<std::uint64_t, Cached> masks_;
  std::list<std::uint64_t> order_;  // latest first
  std::size_t mask_bytes_ = 0;
  std::vector<std::vector<Config>> path_;
};

Grammar::Grammar(std::shared_ptr<const GrammarProgram> program)
    : program_(std::move(program)), tables_(std::make_unique<GrammarTables>(*program_)) {}
Grammar::~Grammar() = default;

Result<std::shared_ptr<Grammar>> Grammar::for_json(const model::Vocabulary& vocabulary,
                                                   std::shared_ptr<const Schema> schema,
                                                   const JsonGrammarOptions& options) {
  return for_json(TokenIndex::build(vocabulary), std::move(schema), options);
}

Result<std::shared_ptr<Grammar>> Grammar::for_json(std::shared_ptr<const TokenIndex> index,
                                                   std::shared_ptr<const Schema> schema,
                                                   const JsonGrammarOptions& options) {
  auto program = GrammarProgram::json(std::move(index), std::move(schema), options);
  if (!program) return program.error();
  return std::shared_ptr<Grammar>(new Grammar(std::move(*program)));
}

Result<std::shared_ptr<Grammar>> Grammar::for_message(const model::Vocabulary& vocabulary,
                                                      const std::vector<GrammarTool>& tools,
                                                      const MessageGrammarOptions& options) {
  return for_message(TokenIndex::build(vocabulary), tools, options);
}

Result<std::shared_ptr<Grammar>> Grammar::for_message(std::shared_ptr<const TokenIndex> index,
                                                      const std::vector<GrammarTool>& tools,
                                                      const MessageGrammarOptions& options) {
  auto program = GrammarProgram::message(std::move(index), tools, options);
  if (!program) return program.error();
  return std::shared_ptr<Grammar>(new Grammar(std::move(*program)));
}

std::shared_ptr<Grammar> Grammar::refreshed(std::shared_ptr<Grammar> grammar) {
  if (grammar->table_bytes() <= kTableBytesMax) return grammar;
  return std::shared_ptr<Grammar>(new Grammar(grammar->program_));
}

State Grammar::start(bool thinking) const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->start(thinking);
}

State Grammar::advance(State state, std::uint8_t byte) const {
  const char c = static_cast<char>(byte);
  return advance(state, std::string_view(&c, 1));
}

State Grammar::advance(State state, std::string_view bytes) const {
  const std::lock_guard lock(tables_->mutex);
  std::vector<Config> configs;
  tables_->expand(state, configs);
  if (!tables_->run(configs, bytes)) return {};
  return tables_->intern(configs);
}

State Grammar::advance(State state, TokenId token) const {
  const std::lock_guard lock(tables_->mutex);
  std::vector<Config> configs;
  tables_->expand(state, configs);
  if (!tables_->run(configs, token)) return {};
  return tables_->intern(configs);
}

State Grammar::advance(State state, TokenId token,
                       const std::function<void(const StepInfo&, std::uint8_t)>& observe) const {
  const std::lock_guard lock(tables_->mutex);
  const GrammarProgram& p = *program_;
  std::vector<Config> before, after;
  tables_->expand(state, before);
  if (before.empty() || token >= p.index->vocabulary->size()) return {};
  auto region = [](const std::vector<Config>& configs) { return configs[0].top.region; };
  // What a step did can be told from the frames on both sides: in a message all configurations agree on them, since
  // alternatives differ only inside one value.
  auto tell = [&](bool control, std::uint8_t byte) {
    const Frame &from = before[0].top, &to = after[0].top;
    StepInfo info;
    info.region = region(after);
    info.control = control;
    info.call_begun = to.kind == FrameKind::kHeader && from.kind != FrameKind::kHeader;
    info.named = from.kind == FrameKind::kHeader && to.kind == FrameKind::kTail;
    info.keyed = to.kind == FrameKind::kParameterOpen && from.kind != FrameKind::kParameterOpen;
    info.value_ended = region(before) == Region::kValue && region(after) != Region::kValue;
    info.function_ended = to.kind == FrameKind::kFunctionEnd && from.kind != FrameKind::kFunctionEnd;
    info.call_ended = to.kind == FrameKind::kAfterCall && from.kind != FrameKind::kAfterCall;
    if (info.named || info.keyed) info.tool = to.node;
    if (info.keyed) info.property = to.c;
    for (const Config& config : after) {
      if (info.region == Region::kValue) info.pending = std::max(info.pending, tables_->automaton_.pending(config));
    }
    if (info.value_ended) {
      const CallFormat& format = p.options.format;
      info.terminator = format.value_close.size();
      if (info.function_ended) {
        info.terminator += format.function_close.size();
      } else {
        info.terminator += format.parameter_open.size();
        if (info.keyed) {
          const ObjectRule& rule = p.nodes[p.tool_programs[to.node].arguments].node->object;
          info.terminator += rule.properties[to.c].name.size() + format.parameter_key_end.size();
        }
      }
    }
    observe(info, byte);
  };
  if (p.index->vocabulary->is_control(token) || tables_->is_stop(token)) {
    tables_->automaton_.step_control(before, token, after);
    if (after.empty()) return {};
    tell(true, 0);
    return tables_->intern(after);
  }
  const std::string_view bytes = p.index->vocabulary->bytes(token);
  if (bytes.empty()) return {};
  // Nothing is told of a token that is refused half-way.
  std::vector<Config> trial = before;
  if (!tables_->run(trial, bytes)) return {};
  for (char c : bytes) {
    tables_->automaton_.step(before, static_cast<std::uint8_t>(c), after);
    if (p.is_message) tell(false, static_cast<std::uint8_t>(c));
    before.swap(after);
  }
  return tables_->intern(before);
}

bool Grammar::complete(State state) const {
  const std::lock_guard lock(tables_->mutex);
  std::vector<Config> configs;
  tables_->expand(state, configs);
  return std::any_of(configs.begin(), configs.end(),
                     [&](const Config& config) { return tables_->automaton_.complete(config); });
}

bool Grammar::in_reasoning(State state) const {
  const std::lock_guard lock(tables_->mutex);
  std::vector<Config> configs;
  tables_->expand(state, configs);
  return !configs.empty() && configs[0].top.kind == FrameKind::kThink;
}

std::shared_ptr<const model::TokenMask> Grammar::mask(State state) const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->mask(state);
}

model::TokenMask Grammar::mask_by_trial(State state) const {
  const std::lock_guard lock(tables_->mutex);
  model::TokenMask mask(program_->index->vocabulary->size());
  std::vector<Config> configs;
  for (TokenId token = 0; token < mask.size(); ++token) {
    tables_->expand(state, configs);
    if (!configs.empty() && tables_->run(configs, token)) mask.allow(token);
  }
  return mask;
}

TokenId Grammar::think_close() const {
  return program_->think_close;
}
const std::vector<GrammarTool>& Grammar::tools() const {
  return program_->tools;
}
const MessageGrammarOptions& Grammar::options() const {
  return program_->options;
}
const model::Vocabulary& Grammar::vocabulary() const {
  return *program_->index->vocabulary;
}

std::size_t Grammar::state_count() const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->states_.size();
}

std::size_t Grammar::table_bytes() const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->bytes_ + tables_->interner_.bytes();
}

std::size_t Grammar::mask_bytes() const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->mask_bytes_;
}

}  // namespace longhaul::tools
