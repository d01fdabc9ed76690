// What a trajectory feeds: the user's message after the history that the chat layout keeps, and what ends a turn.
#include <algorithm>

#include "runtime/trajectory_impl.h"

namespace longhaul::runtime {
namespace {

model::Effort effort_of(Reasoning reasoning) {
  if (reasoning == Reasoning::kLow) return model::Effort::kLow;
  if (reasoning == Reasoning::kEfficient) return model::Effort::kEfficient;
  return model::Effort::kDefault;
}

}  // namespace

std::string text_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

Result<void> Trajectory::Impl::feed_user() {
  const model::Effort effort = effort_of(settings.reasoning);
  const std::vector<TokenId> user = tokens_of(model::render_user(s.user_text, effort));
  std::vector<TokenId> ids;
  if (s.exchange_begin == 0) {
    ids = tokens_of(model::render_system(settings.system, tools->declarations()));
  } else if (!s.messages.empty()) {
    // Reasoning of the exchange that has ended leaves the history: go back to where it began and feed what stays.
    std::vector<TokenId> kept = history_of_exchange();
    const std::size_t from = s.exchange_begin - effort_tokens(kept);
    const auto old_begin = context().begin() + static_cast<std::ptrdiff_t>(from);
    if (!std::equal(old_begin, context().end(), kept.begin(), kept.end())) {
      if (auto ok = p.session.reset_context(from, "reasoning of past turns is dropped"); !ok) return ok.error();
      if (auto ok = s.apply(sessions::ContextReset{from, {}}); !ok) return ok.error();
      if (auto ok = load_sequence(); !ok) return ok.error();
      ids = std::move(kept);
    }
  }
  ids.insert(ids.end(), user.begin(), user.end());
  if (auto ok = feed(ids); !ok) return ok.error();
  auto done = catch_up(false);
  if (!done) return done.error();
  if (!*done) return {};  // interrupted: the state is saved another time
  // The next exchange goes back to here.
  auto saved = p.session.save_state(*sequence, true);
  if (!saved) return saved.error();
  p.session.share_pages(*sequence);
  return {};
}

std::size_t Trajectory::Impl::effort_tokens(std::vector<TokenId>& kept) const {
  const auto end = context().begin() + static_cast<std::ptrdiff_t>(s.exchange_begin);
  for (const model::Effort effort : {model::Effort::kLow, model::Effort::kEfficient}) {
    const std::vector<TokenId> with = tokens_of(model::render_user(s.fed_user_text, effort));
    if (with.size() > s.exchange_begin ||
        !std::equal(with.begin(), with.end(), end - static_cast<std::ptrdiff_t>(with.size()))) {
      continue;
    }
    const std::vector<TokenId> plain = tokens_of(model::render_user(s.fed_user_text));
    kept.insert(kept.begin(), plain.begin(), plain.end());
    return with.size();
  }
  return 0;
}

std::vector<TokenId> Trajectory::Impl::history_of_exchange() const {
  std::vector<TokenId> out;
  const TokenId think_close = tokenizer().vocabulary().control("</think>").value_or(tools::kNoToken);
  const std::vector<TokenId> header = tokens_of({{"<|im_start|>assistant\n<think></think>", true}});
  for (const MessageSpan& span : s.messages) {
    const auto at = [&](std::size_t i) { return context().begin() + static_cast<std::ptrdiff_t>(i); };
    std::vector<TokenId> written(at(span.begin), at(span.end));
    const auto close = std::find(written.begin(), written.end(), think_close);
    std::vector<TokenId> message = header;
    if (close != written.end()) {
      message.insert(message.end(), close + 1, written.end());
    } else if (std::equal(header.begin(), header.end(), at(span.header), at(span.begin))) {
      message.insert(message.end(), written.begin(), written.end());  // it was written without reasoning
    }
    // What was fed after the message begins with what ends it ("\n", or the end token too if a limit cut it off).
    message.insert(message.end(), at(span.end), at(span.after));

    model::ChatMessage shown;
    shown.role = model::Role::kAssistant;
    shown.content = text_field(span.message, "content");
    const std::string reasoning = text_field(span.message, "reasoning");
    if (reasoning.find_first_not_of(" \t\r\n") != std::string::npos) shown.reasoning = reasoning;
    if (const json::value* calls = span.message.if_contains("calls"); calls != nullptr && calls->is_array()) {
      for (const json::value& call : calls->get_array()) {
        shown.tool_calls.push_back({std::string(call.at("name").get_string()), call.at("arguments").get_object()});
      }
    }
    const std::vector<model::ChatPiece> layout = model::render_assistant(shown, p.model.chat_variant(), false);
    const std::string expected = model::to_text(layout);
    auto text = tokenizer().decode(message, true);
    if (text && text->starts_with(expected)) {
      out.insert(out.end(), message.begin(), message.end());
    } else {
      // The model's own spacing differs from the layout's: the layout wins, as in every other engine.
      const std::vector<TokenId> rendered = tokens_of(layout);
      out.insert(out.end(), rendered.begin(), rendered.end());
      const std::vector<TokenId> tail = after_message(span);
      out.insert(out.end(), tail.begin(), tail.end());
    }
  }
  return out;
}

std::vector<TokenId> Trajectory::Impl::after_message(const MessageSpan& span) const {
  std::vector<TokenId> fed(context().begin() + static_cast<std::ptrdiff_t>(span.end),
                           context().begin() + static_cast<std::ptrdiff_t>(span.after));
  const std::vector<TokenId> ending = message_ending(text_field(span.message, "finish") == "length");
  if (fed.size() >= ending.size() && std::equal(ending.begin(), ending.end(), fed.begin())) {
    fed.erase(fed.begin(), fed.begin() + static_cast<std::ptrdiff_t>(ending.size()));
  }
  return fed;
}

std::vector<TokenId> Trajectory::Impl::message_ending(bool cut_off) const {
  return tokens_of({{cut_off ? "<|im_end|>\n" : "\n", true}});
}

std::vector<TokenId> Trajectory::Impl::turn_end() const {
  std::vector<TokenId> ids = message_ending(text_field(s.messages.back().message, "finish") == "length");
  if (!s.calls.empty()) {
    std::vector<std::string> results;
    for (const CallState& call : s.calls) results.push_back(call.result->text);
    const std::vector<TokenId> block = tokens_of(model::render_tool_results(results));
    ids.insert(ids.end(), block.begin(), block.end());
  }
  return ids;
}

}  // namespace longhaul::runtime
