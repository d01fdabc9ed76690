// Which tokens may follow a set of configurations: the computation behind Grammar::mask, without its caches. Internal
// to tools/. Most states are inside text, where nearly every token is allowed whatever surrounds it: these are a copy
// of a mask made once a vocabulary (string_tokens.h) and a look at the few tokens that leave the text. Everything else
// is a walk over the vocabulary's trie, from one numbered set of configurations to the next (config_graph.h). It leaves
// out what is below a refused byte. Where a pattern goes on with any characters of some kinds, tokens of these kinds
// are copied too (token_classes.h), or taken by whole subtrees.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/token_mask.h"
#include "tools/automaton.h"
#include "tools/config_graph.h"
#include "tools/string_tokens.h"
#include "tools/utf8.h"

namespace longhaul::tools {

class MaskBuilder {
 public:
  MaskBuilder(const GrammarProgram& program, Automaton& automaton)
      : p_(program), automaton_(automaton), graph_(program, automaton) {}

  AllowedTokens build(const std::vector<Config>& configs);
  // Whether a token from here can reach a bound of the text being read, so that the count so far matters to the mask.
  bool near_limit(const Config& config) const { return graph_.near_limit(config); }
  std::size_t bytes() const { return graph_.bytes(); }

 private:
  using Configs = std::vector<Config>;

  void one(const Config& config);
  void together(const Configs& configs);
  void strings(const Configs& configs);
  void keys(const Configs& configs);
  void names(Config& key, const TokenTrie::Branches* branches, std::size_t from, std::size_t to, std::size_t depth);
  void raw(const Config& config);
  void content(const Config& config);
  void follow(const Configs& configs, std::size_t from, std::size_t to, std::size_t depth);
  void walk(const Configs& configs, const TokenTrie& trie, std::size_t from, std::size_t to, std::size_t depth);
  void take_kinds();
  void walk_nodes(const TokenTrie& trie, std::size_t from, std::size_t to);
  void walk_branches(const TokenTrie& trie, const TokenTrie::Branches& branches, const ByteSet& live);
  void controls(const Configs& configs);
  void suffixes(const Configs& after, std::vector<std::uint8_t>& fit);

  bool run(Configs& configs, std::string_view bytes);
  void step(const Configs& from, std::uint8_t byte, Configs& to);
  void add(const model::TokenMask& mask);
  void clear();
  void list_if_few();
  void allow(TokenId id);
  void allow(std::span<const TokenId> ids);
  void forbid(TokenId id);

  const GrammarProgram& p_;
  Automaton& automaton_;
  ConfigGraph graph_;
  AllowedTokens out_;
  // While out_.few: how many tokens there are, and in which words of the mask, so that they are found again in order.
  std::size_t n_ids_ = 0;
  std::vector<std::uint64_t> touched_;
  std::size_t widest_ = 0;  // most configurations met at once
  // Of walk(): tokens of these kinds of characters only are decided already.
  struct Kinds {
    struct Step {
      bool free = false;  // the path to the node is of `open` only
      CharInPart part;
    };
    Step after(const Step& before, std::uint8_t byte) const;

    CharClasses open = 0;       // allowed; 0: nothing is decided
    CharClasses decided = 0;    // those, and what may not follow them
    std::size_t bytes_max = 0;  // of such tokens
    std::vector<Step> path;     // by depth
  };
  Kinds kinds_;
  std::vector<ConfigGraph::Place> places_;  // of walk() and suffixes(), by depth
  Configs scratch_;
  std::vector<const StringTokens::Prefix*> special_;  // of keys()
  std::vector<TokenId> not_yet_;
  std::vector<std::uint8_t> fit_;
};

}  // namespace longhaul::tools
