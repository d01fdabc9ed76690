#include "runtime/model_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <thread>

#include "runtime/mask_ahead.h"
#include "runtime/resources.h"

namespace longhaul::runtime {
namespace fs = std::filesystem;

Result<std::string> builtin_model_folder() {
  auto resources = resource_folder();
  if (!resources) return resources.error();
  const std::string folder = (fs::path(*resources) / "model/pico").string();
  std::error_code ec;
  if (!fs::exists(fs::path(folder) / "config.json", ec)) {
    return not_found(fmt::format("the built-in model is not in {}; name another with --model DIR", folder));
  }
  return folder;
}

ModelHost::ModelHost() = default;
ModelHost::~ModelHost() = default;

Result<std::unique_ptr<ModelHost>> ModelHost::load(const ModelOptions& options,
                                                   const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  std::unique_ptr<ModelHost> host(new ModelHost);
  const bool builtin = options.folder.empty();
  if (builtin) {
    auto folder = builtin_model_folder();
    if (!folder) return folder.error();
    host->folder_ = *folder;
  } else {
    host->folder_ = options.folder;
  }

  auto checkpoint = model::Checkpoint::open(host->folder_);
  if (!checkpoint) return checkpoint.error();
  host->checkpoint_ = std::move(*checkpoint);

  // The built-in model is small enough to be read whole at every start; a large one is read once.
  std::string cache;
  if (!builtin && !options.digest_cache.empty()) {
    std::error_code ec;
    fs::create_directories(fs::path(options.digest_cache).parent_path(), ec);
    if (!ec) cache = options.digest_cache;
  }
  auto digest = host->checkpoint_->digest(cache, progress);
  if (!digest) return digest.error();
  host->fingerprint_ = digest->hex();
  if (builtin && !builtin_model_digest().empty() && host->fingerprint_ != builtin_model_digest()) {
    return corruption(fmt::format("{}: the built-in model's digest is {}, this program was built with {}",
                                  host->folder_, host->fingerprint_, builtin_model_digest()));
  }

  host->stop_tokens_ = host->config().eos_tokens;
  if (options.use != ModelUse::kTokens) {
    auto tokenizer = model::Tokenizer::load(host->folder_);
    if (!tokenizer) return tokenizer.error();
    host->tokenizer_ = std::move(*tokenizer);
    const model::Vocabulary& vocabulary = host->tokenizer_->vocabulary();
    if (static_cast<std::int64_t>(vocabulary.size()) > host->config().vocab_size) {
      return corruption(fmt::format("{}: the tokenizer has {} tokens, the model {}", host->folder_, vocabulary.size(),
                                    host->config().vocab_size));
    }
    if (auto im_end = vocabulary.control("<|im_end|>")) host->stop_tokens_.push_back(*im_end);
  }
  if (options.use == ModelUse::kChat) {
    auto variant = model::choose_chat_variant(host->folder_, host->config(), options.chat_format);
    if (!variant) return variant.error();
    host->chat_variant_ = *variant;
  }

  std::sort(host->stop_tokens_.begin(), host->stop_tokens_.end());
  host->stop_tokens_.erase(std::unique(host->stop_tokens_.begin(), host->stop_tokens_.end()), host->stop_tokens_.end());

  auto engine = model::Engine::load(
      host->checkpoint_,
      {.n_threads = options.n_threads, .kernels = options.kernels, .kv = options.kv, .mtp = options.mtp});
  if (!engine) return with_context(host->folder_, engine.error());
  host->engine_ = std::move(*engine);
  const char* given = std::getenv("LONGHAUL_MASKS_AHEAD");
  const std::string_view ahead = given == nullptr ? "" : given;
  if (ahead == "1") {
    host->mask_ahead_ = std::make_unique<MaskAhead>(MaskAhead::When::kAlways);
  } else if (ahead != "0" && static_cast<unsigned>(options.n_threads) < std::thread::hardware_concurrency()) {
    host->mask_ahead_ = std::make_unique<MaskAhead>(MaskAhead::When::kPays);
  }
  return host;
}

const std::shared_ptr<const tools::TokenIndex>& ModelHost::token_index() const {
  std::call_once(index_once_, [&] { index_ = tools::TokenIndex::build(tokenizer_->vocabulary()); });
  return index_;
}

}  // namespace longhaul::runtime
