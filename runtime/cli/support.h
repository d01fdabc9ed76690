// What the commands share: reporting errors, opening the model, progress on the terminal.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/sizes.h"
#include "runtime/cli/options.h"
#include "runtime/model_host.h"
#include "runtime/store_status.h"
#include "sessions/session_manager.h"

namespace longhaul::cli {

// `longhaul: MESSAGE` on standard error; with --json also {"event":"error",...} on standard output, with the fields of
// `place`. Returns kExitFailed, or kExitInDoubt for an error that is about that.
int fail(const CommonOptions& common, const Error& error, const json::object& place = {});

// One line of JSON on standard output.
void print_json(const json::object& object);

Result<std::unique_ptr<runtime::ModelHost>> load_model(const CommonOptions& common, runtime::ModelUse use,
                                                       bool mtp = false, const model::KvMode& kv = {});
Result<std::unique_ptr<model::Tokenizer>> load_tokenizer(const CommonOptions& common);
Result<std::string> model_folder(const CommonOptions& common);
Result<std::string> store_folder(const CommonOptions& common);
// The file in the store that remembers digests of checkpoints; empty if there is no place for a store.
std::string digest_cache(const CommonOptions& common);

// The response format that the options say; empty: none was given. Errors name the file.
Result<json::object> response_format_of(const ResponseOptions& options);

std::string time_text(std::int64_t unix_ms);  // 2026-11-23 07:15:00, UTC

// What lies in a store, for `top`; empty if it cannot be read.
std::vector<runtime::SessionLine> stored_sessions(const sessions::SessionManager& manager);

// "1,2, 3" -> ids; kInvalidArgument names the piece.
Result<std::vector<model::TokenId>> parse_ids(const std::string& text);
// The text itself, or all of standard input for "-".
Result<std::string> text_or_stdin(const std::string& text, std::size_t bytes_max);

// A terminal obeys what it is sent: text of the model, of tools and files is shown without control characters.
std::string printable(std::string_view text);
// The first `bytes` of a text, up to a character's end, and how much more there is.
std::string cut(std::string_view text, std::size_t bytes);

// A progress line on standard error, only on a terminal and only after two seconds; erased at the end.
class Progress {
 public:
  enum class Unit { kBytes, kTokens, kBranches };
  explicit Progress(std::string what, Unit unit = Unit::kBytes);
  ~Progress();
  void update(std::uint64_t done, std::uint64_t total);
  std::function<void(std::uint64_t, std::uint64_t)> callback();

 private:
  std::string what_;
  Unit unit_;
  std::int64_t start_ns_ = 0, last_ns_ = 0;
  bool shown_ = false, terminal_ = false;
};

}  // namespace longhaul::cli
