// Any text as config.json and generation_config.json (behind the first NUL): refused with a message, or a config whose
// dimensions later code may rely on.
#include <cstdint>
#include <string_view>

#include "model/checkpoint.h"
#include "model/config.h"
#include "runtime/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = text.find('\0');
  const std::string_view generation = cut == std::string_view::npos ? std::string_view() : text.substr(cut + 1);
  auto config = longhaul::model::parse_model_config(text.substr(0, cut), generation, "config.json");
  if (!config) {
    LONGHAUL_CHECK(config.error().message.starts_with("config.json") ||
                       config.error().message.starts_with("generation_config.json"),
                   "an error names the file");
    return 0;
  }
  LONGHAUL_CHECK(!config->layers.empty() && config->d_model > 0 && config->vocab_size > 0, "a model has layers");
  for (auto token : config->eos_tokens) LONGHAUL_CHECK(token < config->vocab_size, "end tokens are tokens");
  for (const auto& tensor : longhaul::model::expected_tensors(*config)) {
    for (auto extent : tensor.shape) LONGHAUL_CHECK(extent > 0, "every expected tensor has elements");
  }
  return 0;
}
