// Compaction: results of old calls leave the context. The trajectory goes back to before the first of them and feeds
// what stays, as with the reasoning of past exchanges, so the model never continues from a state that has seen what is
// gone; what it said itself stays token by token.
#include <algorithm>
#include <set>
#include <span>

#include "runtime/recall.h"
#include "runtime/trajectory_impl.h"

namespace longhaul::runtime {
namespace {

// Results of one turn of a past exchange, as they stand in the context, and what is to stand there.
struct PastResults {
  std::size_t begin = 0, end = 0;
  std::vector<TokenId> instead;
  std::vector<std::uint64_t> drops;
};

// A short result is kept: its placeholder would be longer.
bool worth_dropping(const sessions::Call& call) {
  return call.result && call.result->text.size() > recall_placeholder(call).size();
}

// Of the turns before the current exchange, oldest first, those with results to drop: all but the newest `keep`. Found
// by their tokens, which are fed as they were whenever the history is fed anew; results cannot imitate the control
// tokens around them.
template <class TokensOf>
std::vector<PastResults> past_results(const std::vector<TokenId>& context, std::size_t end,
                                      std::span<const sessions::Call> calls, const std::set<std::uint64_t>& dropped,
                                      std::size_t keep, TokensOf tokens_of) {
  std::size_t n_turns = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) n_turns += i == 0 || calls[i].turn != calls[i - 1].turn ? 1 : 0;
  std::vector<PastResults> out;
  std::size_t cursor = 0;
  for (std::size_t first = 0, turn = 0, next = 0; first < calls.size() && turn + keep < n_turns; first = next, ++turn) {
    PastResults results;
    std::vector<std::string> now, then;
    bool all_there = true;
    for (next = first; next < calls.size() && calls[next].turn == calls[first].turn; ++next) {
      const sessions::Call& call = calls[next];
      const std::uint64_t ordinal = call.intent.ordinal;
      const bool gone = dropped.contains(ordinal);
      all_there = all_there && call.result.has_value();
      now.push_back(gone || !call.result ? recall_placeholder(call) : call.result->text);
      if (!gone && worth_dropping(call)) results.drops.push_back(ordinal);
      then.push_back(gone || worth_dropping(call) ? recall_placeholder(call) : now.back());
    }
    if (results.drops.empty() || !all_there) continue;
    const std::vector<TokenId> block = tokens_of(model::render_tool_results(now));
    const auto stop = context.begin() + static_cast<std::ptrdiff_t>(end);
    const auto found =
        std::search(context.begin() + static_cast<std::ptrdiff_t>(cursor), stop, block.begin(), block.end());
    if (found == stop) continue;  // its exchange has left the context
    results.begin = static_cast<std::size_t>(found - context.begin());
    results.end = cursor = results.begin + block.size();
    results.instead = tokens_of(model::render_tool_results(then));
    out.push_back(std::move(results));
  }
  return out;
}

}  // namespace

Result<void> Trajectory::Impl::compact() {
  if (settings.compact_at <= 0 || s.messages.empty()) return {};
  if (static_cast<std::int64_t>(context().size()) < settings.compact_at) return {};
  const auto keep = static_cast<std::size_t>(settings.compact_keep_turns);
  const std::size_t n_old = s.messages.size() > keep ? s.messages.size() - keep : 0;
  const auto& calls = p.session.context().calls();
  const auto range = [&](std::size_t from, std::size_t to) { return std::span(context()).subspan(from, to - from); };

  sessions::Compacted record;
  std::vector<TokenId> kept;  // behind `position`
  std::size_t position = 0;
  bool begun = false;
  // What is older than the current exchange comes first. Its first message stands where the user's ends.
  std::uint64_t n_past = calls.size();
  for (const MessageSpan& span : s.messages) {
    if (!span.ordinals.empty()) n_past = std::min(n_past, span.ordinals.front());
  }
  const std::size_t past_end = s.messages.front().header;
  const auto past = past_results(context(), past_end, std::span(calls).first(n_past), s.dropped,
                                 keep > s.messages.size() ? keep - s.messages.size() : 0,
                                 [&](const auto& pieces) { return tokens_of(pieces); });
  for (std::size_t i = 0; i < past.size(); ++i) {
    if (!begun) position = past[i].begin;
    begun = true;
    kept.insert(kept.end(), past[i].instead.begin(), past[i].instead.end());
    const auto after = range(past[i].end, i + 1 < past.size() ? past[i + 1].begin : past_end);
    kept.insert(kept.end(), after.begin(), after.end());
    record.dropped.insert(record.dropped.end(), past[i].drops.begin(), past[i].drops.end());
  }
  for (std::size_t i = 0; i < s.messages.size(); ++i) {
    const MessageSpan& span = s.messages[i];
    std::vector<std::uint64_t> drops;
    for (const std::uint64_t ordinal : span.ordinals) {
      const sessions::Call& call = calls[ordinal];
      if (i < n_old && !s.dropped.contains(ordinal) && worth_dropping(call)) drops.push_back(ordinal);
    }
    if (!begun && drops.empty()) continue;
    sessions::Compacted::Span now;
    if (!begun) {
      begun = true;
      record.first_message = i;
      position = span.end;
      now = {span.header, span.begin, span.end, 0};
    } else {
      now.header = position + kept.size();
      now.begin = now.header + (span.begin - span.header);
      const auto message = range(span.header, span.end);
      kept.insert(kept.end(), message.begin(), message.end());
      now.end = position + kept.size();
    }
    if (drops.empty()) {
      const auto fed = range(span.end, span.after);
      kept.insert(kept.end(), fed.begin(), fed.end());
    } else {
      std::vector<std::string> results;
      for (const std::uint64_t ordinal : span.ordinals) {
        const bool gone = s.dropped.contains(ordinal) || std::find(drops.begin(), drops.end(), ordinal) != drops.end();
        results.push_back(gone ? recall_placeholder(calls[ordinal]) : calls[ordinal].result->text);
      }
      std::vector<TokenId> ids = message_ending(text_field(span.message, "finish") == "length");
      const std::vector<TokenId> block = tokens_of(model::render_tool_results(results));
      ids.insert(ids.end(), block.begin(), block.end());
      kept.insert(kept.end(), ids.begin(), ids.end());
    }
    now.after = position + kept.size();
    record.spans.push_back(now);
    record.dropped.insert(record.dropped.end(), drops.begin(), drops.end());
  }
  if (record.dropped.empty()) return {};
  const std::size_t before = context().size();
  const sessions::TokensFed fed{kept, {}};
  if (auto ok = p.session.reset_context(position, "old results are dropped", {fed, record}); !ok) return ok.error();
  if (auto ok = s.apply(sessions::ContextReset{position, {}}); !ok) return ok.error();
  if (auto ok = s.apply(fed); !ok) return ok.error();
  if (auto ok = s.apply(record); !ok) return ok.error();
  if (auto ok = load_sequence(); !ok) return ok.error();
  emit(EventKind::kCompacted,
       {{"dropped", record.dropped.size()}, {"tokens_before", before}, {"tokens_after", context().size()}});
  return {};
}

}  // namespace longhaul::runtime
