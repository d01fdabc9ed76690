// Writes small checkpoints for tests: safetensors files byte by byte (so that a test can also write wrong ones), whole
// folders with random weights from a seed, and folders that hold headers only.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/checkpoint.h"

namespace longhaul::model::testing {

// A folder that goes away with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "longhaul_test_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline void write_bytes(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

struct TestTensor {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

// Header length and header for tensors laid out one after the other; `sizes` are their byte counts.
inline std::string safetensors_header(const std::vector<TestTensor>& tensors, const std::vector<std::uint64_t>& sizes) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", tensors[i].name,
                          tensors[i].dtype, fmt::join(tensors[i].shape, ","), at, at + sizes[i]);
    at += sizes[i];
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header;
}

inline std::string safetensors(const std::vector<TestTensor>& tensors) {
  std::vector<std::uint64_t> sizes;
  for (const TestTensor& tensor : tensors) sizes.push_back(tensor.bytes.size());
  std::string file = safetensors_header(tensors, sizes);
  for (const TestTensor& tensor : tensors) file += tensor.bytes;
  return file;
}

inline std::uint16_t to_bf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// Random tensors for every expected name, sensible enough to compute with: F32 router bias, positive norms.
inline std::vector<TestTensor> random_tensors(const ModelConfig& config, bool bf16, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  auto uniform = [&random] { return static_cast<float>(random() >> 40) / 8388608.0F - 1.0F; };  // [-1, 1)
  std::vector<TestTensor> tensors;
  for (const ExpectedTensor& expected : expected_tensors(config)) {
    const std::string_view name = expected.name;
    const bool narrow = bf16 && !name.ends_with("e_score_correction_bias");
    TestTensor tensor{expected.name, narrow ? "BF16" : "F32", expected.shape, {}};
    std::int64_t n = 1;
    for (std::int64_t extent : expected.shape) n *= extent;
    const bool is_norm = name.ends_with("norm.weight") || name.ends_with("norm_f.weight");
    const float scale = expected.shape.size() > 1 ? 1.0F / std::sqrt(static_cast<float>(expected.shape.back())) : 0.1F;
    for (std::int64_t i = 0; i < n; ++i) {
      const float value = (is_norm ? 1.0F : 0.0F) + scale * uniform();
      if (narrow) {
        const std::uint16_t half = to_bf16(value);
        tensor.bytes.append(reinterpret_cast<const char*>(&half), 2);
      } else {
        tensor.bytes.append(reinterpret_cast<const char*>(&value), 4);
      }
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

// Spreads `tensors` over `n_shards` files with an index; one shard is a plain model.safetensors.
inline void write_tensors(const std::string& folder, const std::vector<TestTensor>& tensors, std::size_t n_shards) {
  if (n_shards == 1) {
    write_bytes(folder + "/model.safetensors", safetensors(tensors));
    return;
  }
  std::string map;
  for (std::size_t shard = 0; shard < n_shards; ++shard) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, n_shards);
    std::vector<TestTensor> part;
    for (std::size_t i = shard; i < tensors.size(); i += n_shards) {
      part.push_back(tensors[i]);
      map += fmt::format("{}\"{}\":\"{}\"", map.empty() ? "" : ",", tensors[i].name, file);
    }
    write_bytes(folder + "/" + file, safetensors(part));
  }
  write_bytes(folder + "/model.safetensors.index.json", fmt::format(R"({{"metadata":{{}},"weight_map":{{{}}}}})", map));
}

// A small config of every layer kind: latent experts, an MTP module. Fields may be added in front by `extra`
// (for example `"use_conv_bias":false,`).
inline std::string tiny_config(std::string_view pattern = "MEM*E-", bool latent = true, bool mtp = true,
                               std::string_view extra = "") {
  return fmt::format(
      R"({{{}"model_type":"nemotron_h","hidden_size":16,"vocab_size":40,"hybrid_override_pattern":"{}",)"
      R"("mamba_num_heads":4,"mamba_head_dim":8,"ssm_state_size":8,"n_groups":2,"conv_kernel":4,)"
      R"("num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,"intermediate_size":24,)"
      R"("n_routed_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":12,"moe_latent_size":{},)"
      R"("moe_shared_expert_intermediate_size":20,"n_group":1,"topk_group":1,"routed_scaling_factor":2.5,)"
      R"("layer_norm_epsilon":1e-5,"num_nextn_predict_layers":{},"mtp_hybrid_override_pattern":"*E",)"
      R"("bos_token_id":1,"eos_token_id":2}})",
      extra, pattern, latent ? "8" : "null", mtp ? 1 : 0);
}

// Config and random weights; everything a Checkpoint needs.
inline void write_checkpoint(const std::string& folder, const std::string& config_json, bool bf16, std::uint64_t seed,
                             std::size_t n_shards = 1) {
  write_bytes(folder + "/config.json", config_json);
  auto config = parse_model_config(config_json, "", "config.json");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  write_tensors(folder, random_tensors(*config, bf16, seed), n_shards);
}

// Headers without data: what an Ultra folder looks like to a reader that computes nothing.
inline void write_headers_only(const std::string& folder, const std::string& config_json,
                               const std::string& generation_config_json, std::size_t n_shards) {
  write_bytes(folder + "/config.json", config_json);
  write_bytes(folder + "/generation_config.json", generation_config_json);
  auto config = parse_model_config(config_json, "", "config.json");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  const std::vector<ExpectedTensor> expected = expected_tensors(*config);
  std::string map;
  for (std::size_t shard = 0; shard < n_shards; ++shard) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, n_shards);
    std::vector<TestTensor> part;
    std::vector<std::uint64_t> sizes;
    for (std::size_t i = shard; i < expected.size(); i += n_shards) {
      const bool wide = expected[i].name.ends_with("e_score_correction_bias");
      part.push_back({expected[i].name, wide ? "F32" : "BF16", expected[i].shape, {}});
      std::uint64_t size = wide ? 4 : 2;
      for (std::int64_t extent : expected[i].shape) size *= static_cast<std::uint64_t>(extent);
      sizes.push_back(size);
      map += fmt::format("{}\"{}\":\"{}\"", map.empty() ? "" : ",", expected[i].name, file);
    }
    write_bytes(folder + "/" + file, safetensors_header(part, sizes));
  }
  write_bytes(folder + "/model.safetensors.index.json", fmt::format(R"({{"weight_map":{{{}}}}})", map));
}

}  // namespace longhaul::model::testing
