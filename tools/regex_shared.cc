// Languages shared by pools: a pool has an expression for each state it meets there, made of two numbers.
#include <algorithm>

#include "runtime/base/check.h"
#include "tools/regex.h"

namespace longhaul::tools {

SharedLanguage::SharedLanguage(const std::function<RegexId(RegexPool&)>& make) : start_(make(pool_)) {
  LONGHAUL_CHECK(pool_.exprs_[start_].positive && pool_.shared_.empty(), "a language that can be shared");
}

RegexId RegexPool::shared(SharedLanguage& language) {
  const auto known = std::find(shared_.begin(), shared_.end(), &language);
  const auto which = static_cast<std::uint32_t>(known - shared_.begin());
  if (known == shared_.end()) shared_.push_back(&language);
  const std::lock_guard lock(language.mutex_);
  return of_shared(which, language.start_);
}

// Ours for a state of theirs, whose mutex is held.
RegexId RegexPool::of_shared(std::uint32_t which, RegexId state) {
  if (state <= kAnyText) return state;  // the same in each pool
  const Expr& theirs = shared_[which]->pool_.exprs_[state];
  Expr expr{.kind = Kind::kShared, .nullable = theirs.nullable, .a = which, .b = state};
  expr.shortest = theirs.shortest;
  expr.longest = theirs.longest;
  expr.positions = theirs.positions;
  return add(expr);
}

RegexId RegexPool::shared_step(const Expr& x, std::uint32_t c) {
  const std::lock_guard lock(shared_[x.a]->mutex_);
  return of_shared(x.a, shared_[x.a]->pool_.step(x.b, c));
}

// A set for each state that follows.
void RegexPool::shared_sets(const Expr& x, std::vector<std::uint32_t>& sets) {
  const std::lock_guard lock(shared_[x.a]->mutex_);
  const Row& theirs = shared_[x.a]->pool_.row(x.b);
  std::vector<RegexId> targets = theirs.to;
  std::sort(targets.begin(), targets.end());
  targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
  std::vector<CharSet::Range> ranges;
  for (const RegexId target : targets) {
    ranges.clear();
    for (std::size_t i = 0; i < theirs.to.size(); ++i) {
      const std::uint32_t last = i + 1 < theirs.from.size() ? theirs.from[i + 1] - 1 : kCodePointMax;
      if (theirs.to[i] == target) ranges.push_back({theirs.from[i], last});
    }
    sets.push_back(set_of(ranges));
  }
}

std::shared_ptr<const RegexPool::Row> RegexPool::shared_row(const Expr& x) {
  const std::lock_guard lock(shared_[x.a]->mutex_);
  auto made = std::make_shared<Row>(shared_[x.a]->pool_.row(x.b));
  for (RegexId& to : made->to) to = of_shared(x.a, to);
  for (std::uint32_t c = 0, run = 0; c < 128; ++c) {
    while (run + 1 < made->from.size() && made->from[run + 1] <= c) ++run;
    made->ascii[c] = made->to[run];
  }
  return made;
}

RegexPool::Alike RegexPool::shared_alike(const Expr& x) {
  const std::lock_guard lock(shared_[x.a]->mutex_);
  Alike alike = shared_[x.a]->pool_.alike(x.b);
  alike.to = of_shared(x.a, alike.to);
  return alike;
}

}  // namespace longhaul::tools
