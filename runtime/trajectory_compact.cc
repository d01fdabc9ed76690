// Compaction: results of old calls leave the context. The trajectory goes back to before the first of them and feeds
// what stays, as with the reasoning of past exchanges, so the model never continues from a state that has seen what is
// gone; what it said itself stays token by token.
#include <algorithm>

#include "runtime/recall.h"
#include "runtime/trajectory_impl.h"

namespace longhaul::runtime {

Result<void> Trajectory::Impl::compact() {
  if (settings.compact_at <= 0 || static_cast<std::int64_t>(context().size()) < settings.compact_at) return {};
  const auto keep = static_cast<std::size_t>(settings.compact_keep_turns);
  const std::size_t n_old = s.messages.size() > keep ? s.messages.size() - keep : 0;
  const auto& calls = p.session.context().calls();
  const auto range = [&](std::size_t from, std::size_t to) { return std::span(context()).subspan(from, to - from); };

  sessions::Compacted record;
  std::vector<TokenId> kept;  // behind `position`
  std::size_t position = 0;
  bool begun = false;
  for (std::size_t i = 0; i < s.messages.size(); ++i) {
    const MessageSpan& span = s.messages[i];
    std::vector<std::uint64_t> drops;
    for (const std::uint64_t ordinal : span.ordinals) {
      const sessions::Call& call = calls[ordinal];
      // A short result is kept: its placeholder would be longer.
      if (i < n_old && !s.dropped.contains(ordinal) && call.result &&
          call.result->text.size() > recall_placeholder(call).size()) {
        drops.push_back(ordinal);
      }
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
