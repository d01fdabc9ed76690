// Any bytes as a model.safetensors beside a fixed small config: refused, or exactly the expected tensors within the
// file.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "model/checkpoint.h"
#include "runtime/base/check.h"

namespace {

constexpr char kConfig[] =
    R"({"model_type":"nemotron_h","hidden_size":4,"vocab_size":8,"hybrid_override_pattern":"ME","mamba_num_heads":2,)"
    R"("mamba_head_dim":2,"ssm_state_size":2,"n_groups":1,"conv_kernel":2,"n_routed_experts":2,"num_experts_per_tok":1,)"
    R"("moe_intermediate_size":3,"moe_shared_expert_intermediate_size":3,"bos_token_id":1,"eos_token_id":2})";

const std::string& folder() {
  // Never freed, so that the handler at exit can still read it.
  static const std::string* path = [] {
    auto* pattern = new std::string((std::filesystem::temp_directory_path() / "longhaul_fuzz_XXXXXX").string());
    if (::mkdtemp(pattern->data()) == nullptr) std::abort();
    std::ofstream(*pattern + "/config.json") << kConfig;
    std::atexit([] { std::filesystem::remove_all(folder()); });
    return pattern;
  }();
  return *path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using longhaul::model::Checkpoint;
  {
    std::ofstream out(folder() + "/model.safetensors", std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  for (bool headers_only : {false, true}) {
    auto checkpoint = Checkpoint::open(folder(), headers_only);
    if (!checkpoint) {
      LONGHAUL_CHECK(!checkpoint.error().message.empty(), "an error says what is wrong");
      continue;
    }
    const auto expected = longhaul::model::expected_tensors((*checkpoint)->config());
    if (!headers_only) {
      LONGHAUL_CHECK((*checkpoint)->tensors().size() == expected.size(), "all tensors and no other");
      std::uint64_t bytes = 0;
      for (const auto& entry : expected) {
        const auto* view = (*checkpoint)->find(entry.name);
        LONGHAUL_CHECK(view != nullptr && view->shape == entry.shape, "each has its shape");
        bytes += view->bytes.size();
      }
      LONGHAUL_CHECK(bytes == (*checkpoint)->total_bytes() && bytes < size, "the views are of the file");
      LONGHAUL_CHECK((*checkpoint)->digest("").has_value(), "every byte of them can be read");
    }
  }
  return 0;
}
