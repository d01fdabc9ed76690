#include "tools/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "tools/automaton.h"
#include "tools/mask_builder.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

constexpr std::size_t kMaskBytesMax = 16 << 20;    // of cached masks
constexpr std::size_t kTableBytesMax = 256 << 20;  // of interned states, before refreshed() starts anew

std::uint64_t mask_key(std::uint32_t id, std::uint32_t count) {
  return (std::uint64_t{id} << 32) | count;
}

}  // namespace

// Everything that grows while a grammar is used.
class GrammarTables {
 public:
  explicit GrammarTables(const GrammarProgram& program)
      : program_(program), automaton_(program, interner_), builder_(program, automaton_) {
    states_.emplace_back();  // 0: nothing
    if (program.is_message && !program.options.format.value_close.empty()) {
      raw_ = &program.index->raw(program.options.format.value_close);
    }
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
    std::vector<std::uint32_t>& frames = frames_;
    frames.clear();
    for (Config& config : configs) {
      if (counts(config.top.kind)) config.top.delta = config.count - state.count;
      frames.push_back(interner_.frame(config.top));
    }
    if (frames.size() > 1) {
      std::sort(frames.begin(), frames.end());
      frames.erase(std::unique(frames.begin(), frames.end()), frames.end());
    }
    // Most states are one frame.
    if (frames.size() == 1) {
      if (frames[0] >= state_of_.size()) state_of_.resize(interner_.frame_count(), 0);
      std::uint32_t& known = state_of_[frames[0]];
      if (known == 0) known = add(configs);
      state.id = known;
      return state;
    }
    WordHash h;
    for (const std::uint32_t id : frames) h.mix(id);
    state.id = state_ids_.find(h.value(), [&](std::uint32_t id) {
      const Interned& known = states_[id];
      return known.n_frames == frames.size() &&
             std::equal(frames.begin(), frames.end(), state_frames_.begin() + known.first_frame);
    });
    if (state.id == IdTable::kNone) {
      state.id = add(configs);
      state_ids_.add(h.value(), state.id);
    }
    return state;
  }

  // A new state of frames_, which those of `configs` are.
  std::uint32_t add(const std::vector<Config>& configs) {
    const auto id = static_cast<std::uint32_t>(states_.size());
    const bool counted =
        std::any_of(configs.begin(), configs.end(), [](const Config& config) { return counts(config.top.kind); });
    states_.push_back({static_cast<std::uint32_t>(state_frames_.size()), static_cast<std::uint32_t>(frames_.size()),
                       inside_of(configs), counted});
    state_frames_.insert(state_frames_.end(), frames_.begin(), frames_.end());
    return id;
  }

  std::size_t bytes() const {
    return states_.capacity() * sizeof(Interned) +
           (state_frames_.capacity() + state_of_.capacity()) * sizeof(std::uint32_t) + state_ids_.bytes() +
           taken_.capacity() * sizeof(Taken) + interner_.bytes() + builder_.bytes();
  }

  // Where a text token changes nothing but the count.
  enum class Inside : std::uint8_t { kNothing, kText, kString, kRaw };

  Inside inside_of(const std::vector<Config>& configs) const {
    if (configs.size() != 1) return Inside::kNothing;
    const Frame& f = configs[0].top;
    if (f.kind == FrameKind::kThink) return Inside::kText;
    if (f.kind == FrameKind::kContent && f.a == kOff && !program_.must_call()) return Inside::kText;
    if (f.kind == FrameKind::kString && f.a == kOff && f.phase == kUtf8Between) return Inside::kString;
    if (f.kind == FrameKind::kRaw && f.phase == kUtf8Between && program_.tries[f.a].depth == 0) return Inside::kRaw;
    return Inside::kNothing;
  }

  // The state after `token`, if that takes no step of the automaton.
  std::optional<State> glide(State state, TokenId token) const {
    if (state.id >= states_.size() || token >= program_.index->vocabulary->size()) return std::nullopt;
    const Interned& at = states_[state.id];
    if (at.inside == Inside::kNothing) return std::nullopt;
    if (at.inside == Inside::kText) {
      if (!program_.index->text.allowed(token) || is_stop(token)) return std::nullopt;
      return state;
    }
    const std::uint32_t n = at.inside == Inside::kString ? program_.index->strings->whole[token] : raw_->whole[token];
    if (n == 0 || is_stop(token)) return std::nullopt;
    Config config;
    config.top = interner_.frame(state_frames_[at.first_frame]);
    if (state.count + std::uint64_t{n} > automaton_.limits(config).second) return std::nullopt;
    state.count += n;
    return state;
  }

  State advance(State state, TokenId token) {
    if (const auto next = glide(state, token)) return *next;
    // The same tokens come from the same states again and again.
    Taken* taken = nullptr;
    if (state.id < states_.size() && !states_[state.id].counted) {
      if (taken_.empty()) taken_.resize(kTaken);
      taken = &taken_[(state.id * 0x9E3779B1U ^ token) % kTaken];
      if (taken->from == state.id && taken->token == token && state.id != 0) return {taken->to, 0};
    }
    expand(state, configs_);
    if (!run(configs_, token)) return {};
    const State next = intern(configs_);
    if (taken != nullptr && !states_[next.id].counted) *taken = {state.id, token, next.id};
    return next;
  }

  void expand(State state, std::vector<Config>& configs) const {
    configs.clear();
    if (state.id >= states_.size()) return;
    const Interned& at = states_[state.id];
    for (std::uint32_t i = at.first_frame; i < at.first_frame + at.n_frames; ++i) {
      Config config;
      config.top = interner_.frame(state_frames_[i]);
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
    for (char c : bytes) {
      automaton_.step(configs, static_cast<std::uint8_t>(c), next_);
      configs.swap(next_);
      if (configs.empty()) return false;
    }
    return true;
  }

  // A control token, or a text token's bytes.
  bool run(std::vector<Config>& configs, TokenId token) {
    const model::Vocabulary& v = *program_.index->vocabulary;
    if (token >= v.size()) return false;
    if (v.is_control(token) || is_stop(token)) {
      automaton_.step_control(configs, token, next_);
      configs.swap(next_);
      return !configs.empty();
    }
    return !v.bytes(token).empty() && run(configs, v.bytes(token));
  }

  // Some control token may come.
  bool takes_control(const std::vector<Config>& configs) {
    auto takes = [&](TokenId token) {
      if (token == kNoToken) return false;
      automaton_.step_control(configs, token, next_);
      return !next_.empty();
    };
    return takes(program_.think_close) || takes(program_.call_open) || takes(program_.call_close) ||
           std::any_of(program_.stop.begin(), program_.stop.end(), takes);
  }

  bool is_stop(TokenId token) const { return std::binary_search(program_.stop.begin(), program_.stop.end(), token); }

  // Which masks that are not cached are made: all, not those for one length of a text only, those that take no time.
  enum class Make : std::uint8_t { kAny, kForAnyLength, kQuick };

  // Text goes on with one byte at most, so that the walk over the vocabulary is short.
  bool narrow(const std::vector<Config>& configs) {
    int live = 0;
    auto second = [&](std::uint8_t byte) {
      automaton_.step(configs, byte, next_);
      return !next_.empty() && ++live == 2;
    };
    // Where there are more, two are found at once.
    constexpr std::string_view kFirst = "a0 \n\"";
    for (const char byte : kFirst) {
      if (second(static_cast<std::uint8_t>(byte))) return false;
    }
    for (int byte = 0; byte < 256; ++byte) {
      const bool done = kFirst.find(static_cast<char>(byte)) != std::string_view::npos;
      if (!done && second(static_cast<std::uint8_t>(byte))) return false;
    }
    return true;
  }

  std::shared_ptr<const AllowedTokens> allowed(State state, Make make = Make::kAny) {
    expand(state, configs_);
    const bool near_limit = std::any_of(configs_.begin(), configs_.end(),
                                        [&](const Config& config) { return builder_.near_limit(config); });
    const std::uint64_t key = mask_key(state.id, near_limit ? state.count + 1 : 0);
    if (const auto known = masks_.find(key); known != masks_.end()) {
      order_.splice(order_.begin(), order_, known->second.place);
      return known->second.allowed;
    }
    if (near_limit && make == Make::kForAnyLength) return nullptr;
    if (make == Make::kQuick && !narrow(configs_)) return nullptr;
    auto made = std::make_shared<const AllowedTokens>(builder_.build(configs_));
    order_.push_front(key);
    masks_.emplace(key, Cached{made, order_.begin()});
    mask_bytes_ += bytes_of(*made);
    while (mask_bytes_ > kMaskBytesMax && masks_.size() > 1) {
      const auto oldest = masks_.find(order_.back());
      mask_bytes_ -= bytes_of(*oldest->second.allowed);
      masks_.erase(oldest);
      order_.pop_back();
    }
    return made;
  }

  static std::size_t bytes_of(const AllowedTokens& allowed) {
    return allowed.mask.words().size_bytes() + allowed.ids.capacity() * sizeof(TokenId) + 192;
  }

  std::mutex mutex;
  const GrammarProgram& program_;
  Interner interner_;
  Automaton automaton_;
  MaskBuilder builder_;
  struct Interned {
    std::uint32_t first_frame = 0, n_frames = 0;  // in state_frames_
    Inside inside = Inside::kNothing;
    bool counted = false;  // some frame counts, so that State::count matters
  };
  std::vector<Interned> states_;
  const RawTokens* raw_ = nullptr;
  std::vector<std::uint32_t> state_frames_;
  std::vector<std::uint32_t> state_of_;  // by frame, of the states of one; 0: none yet
  IdTable state_ids_;                    // of the others
  // Steps taken lately, by state and token.
  struct Taken {
    std::uint32_t from = 0;
    TokenId token = 0;
    std::uint32_t to = 0;
  };
  static constexpr std::size_t kTaken = 2048;
  std::vector<Taken> taken_;
  struct Cached {
    std::shared_ptr<const AllowedTokens> allowed;
    std::list<std::uint64_t>::iterator place;
  };
  std::unordered_map<std::uint64_t, Cached> masks_;
  std::list<std::uint64_t> order_;  // latest first
  std::size_t mask_bytes_ = 0;
  // Reused, so that a step allocates nothing.
  std::vector<Config> configs_, next_;
  std::vector<std::uint32_t> frames_;
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

Result<std::shared_ptr<Grammar>> Grammar::for_tags(std::shared_ptr<const TokenIndex> index,
                                                   const std::vector<StructuralTag>& tags,
                                                   const std::vector<std::string>& triggers,
                                                   const MessageGrammarOptions& options) {
  auto program = GrammarProgram::structural(std::move(index), tags, triggers, options);
  if (!program) return program.error();
  return std::shared_ptr<Grammar>(new Grammar(std::move(*program)));
}

Result<std::shared_ptr<Grammar>> Grammar::for_text(std::shared_ptr<const TokenIndex> index,
                                                   std::shared_ptr<const TextGrammar> text, std::vector<TokenId> stop) {
  auto program = GrammarProgram::for_text(std::move(index), std::move(text), std::move(stop));
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
  std::vector<Config>& configs = tables_->configs_;
  tables_->expand(state, configs);
  if (!tables_->run(configs, bytes)) return {};
  return tables_->intern(configs);
}

State Grammar::advance(State state, TokenId token) const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->advance(state, token);
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
    const bool heading =
        from.kind == FrameKind::kHeader || from.kind == FrameKind::kContent || from.kind == FrameKind::kMoreCalls;
    const bool in_json = to.kind == FrameKind::kValue && p.options.format.arguments == CallFormat::Arguments::kJson;
    info.named = heading && !control && (to.kind == FrameKind::kTail || in_json);
    info.call_begun = from.kind != FrameKind::kHeader && (to.kind == FrameKind::kHeader || info.named);
    info.keyed = to.kind == FrameKind::kParameterOpen && from.kind != FrameKind::kParameterOpen;
    info.value_ended = region(before) == Region::kValue && region(after) != Region::kValue;
    info.function_ended = to.kind == FrameKind::kFunctionEnd && from.kind != FrameKind::kFunctionEnd;
    info.call_ended = to.kind == FrameKind::kAfterCall && from.kind != FrameKind::kAfterCall;
    if (!p.options.format.control) {
      const bool inside = from.kind != FrameKind::kMoreCalls && from.kind != FrameKind::kAfterCall &&
                          from.kind != FrameKind::kContent && from.kind != FrameKind::kThink;
      info.call_ended = inside && (to.kind == FrameKind::kMoreCalls || to.kind == FrameKind::kAfterCall ||
                                   to.kind == FrameKind::kContent);
      info.function_ended = info.call_ended;
    }
    if (info.named) info.tool = in_json ? tables_->interner_.frame(to.parent).node : to.node;
    if (info.call_begun && from.kind == FrameKind::kContent && !control) {
      if (to.kind == FrameKind::kHeader) {
        info.trigger = p.tries[to.a].depth;
      } else {
        info.trigger = p.is_tags ? p.tools[info.tool].name.size() : tables_->automaton_.pending(before[0]) + 1;
      }
    }
    if (info.keyed) {
      info.tool = to.node;
      info.property = to.c;
    }
    for (const Config& config : after) {
      if (info.region == Region::kValue || info.region == Region::kContent) {
        info.pending = std::max(info.pending, tables_->automaton_.pending(config));
      }
    }
    if (info.value_ended && p.options.format.arguments != CallFormat::Arguments::kJson) {
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

std::shared_ptr<const AllowedTokens> Grammar::allowed(State state) const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->allowed(state);
}

std::shared_ptr<const AllowedTokens> Grammar::allowed_if_kept(State state) const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->allowed(state, GrammarTables::Make::kForAnyLength);
}

std::shared_ptr<const AllowedTokens> Grammar::allowed_if_quick(State state) const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->allowed(state, GrammarTables::Make::kQuick);
}

std::shared_ptr<const model::TokenMask> Grammar::mask(State state) const {
  auto set = allowed(state);
  const model::TokenMask* mask = &set->mask;
  return {std::move(set), mask};
}

std::vector<DraftState> Grammar::draft_masks(State root, std::span<const DraftToken> drafts) const {
  std::vector<DraftState> result(drafts.size());
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    const std::int32_t parent = drafts[i].parent;
    if (parent >= static_cast<std::int32_t>(i)) continue;  // dead: not an earlier one
    const State from = parent < 0 ? root : result[static_cast<std::size_t>(parent)].state;
    if (from.dead()) continue;
    result[i].state = advance(from, drafts[i].token);
    if (!result[i].state.dead()) result[i].allowed = allowed(result[i].state);
  }
  return result;
}

std::vector<TokenId> Grammar::forced(State state,
                                     const std::function<std::vector<TokenId>(std::string_view)>& encode) const {
  constexpr std::size_t kBytesMax = 256;
  std::vector<TokenId> tokens;
  const TokenIndex& index = *program_->index;
  while (!state.dead()) {
    // A control token that stands alone.
    const auto next = allowed(state);
    if (next->ids.size() == 1 && index.vocabulary->is_control(next->ids[0])) {
      tokens.push_back(next->ids[0]);
      state = advance(state, next->ids[0]);
      continue;
    }
    // The bytes that have no alternative.
    std::string text;
    {
      const std::lock_guard lock(tables_->mutex);
      std::vector<Config> at, after, only;
      tables_->expand(state, at);
      while (!at.empty() && text.size() < kBytesMax && !tables_->takes_control(at)) {
        int live = 0;
        std::uint8_t forced = 0;
        for (int byte = 0; byte < 256 && live < 2; ++byte) {
          tables_->automaton_.step(at, static_cast<std::uint8_t>(byte), after);
          if (after.empty()) continue;
          ++live;
          forced = static_cast<std::uint8_t>(byte);
          only.swap(after);
        }
        if (live != 1) break;
        text += static_cast<char>(forced);
        at.swap(only);
      }
    }
    if (text.empty()) return tokens;
    State end = state;
    std::vector<TokenId> cut = encode(text);
    for (std::size_t i = 0; i < cut.size(); ++i) {
      // The last one may yet be the beginning of a longer token.
      if (i + 1 == cut.size() && longer_allowed(*allowed(end), cut[i])) return tokens;
      end = advance(end, cut[i]);
      if (end.dead()) return tokens;  // `encode` gave something else
      tokens.push_back(cut[i]);
    }
    state = end;
  }
  return tokens;
}

bool Grammar::longer_allowed(const AllowedTokens& next, TokenId token) const {
  const model::Vocabulary& v = *program_->index->vocabulary;
  if (!next.few) return true;  // not the kind of place where anything is forced
  return std::any_of(next.ids.begin(), next.ids.end(), [&](TokenId id) {
    return !v.is_control(id) && v.bytes(id).size() > v.bytes(token).size() && v.bytes(id).starts_with(v.bytes(token));
  });
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

std::uint64_t Grammar::dropped() const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->automaton_.dropped();
}

std::size_t Grammar::table_bytes() const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->bytes();
}

std::size_t Grammar::mask_bytes() const {
  const std::lock_guard lock(tables_->mutex);
  return tables_->mask_bytes_;
}

}  // namespace longhaul::tools
