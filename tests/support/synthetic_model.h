// Small models with random weights, without files: for tests of the engine and of whatever drives one.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/cpu_engine.h"
#include "model/kernels/scalar_math.h"
#include "runtime/base/rng.h"

namespace longhaul::model {

// Weights are functions of the seed and the tensor's name; sizes keep activations near 1.
class SyntheticWeights : public WeightSource {
 public:
  SyntheticWeights(DType dtype, std::uint64_t seed) : dtype_(dtype), seed_(seed) {}

  Result<TensorView> get(std::string_view name, const std::vector<std::int64_t>& shape) override {
    auto& tensor = tensors_[std::string(name)];
    if (tensor == nullptr) {
      tensor = std::make_unique<Tensor>();
      tensor->name = name;
      fill(shape, *tensor);
    }
    return TensorView{tensor->name, tensor->dtype, shape, tensor->bytes};
  }

  // Changes one element of a tensor that was asked for already.
  void poison(const std::string& name, std::int64_t index, float value) {
    Tensor& tensor = *tensors_.at(name);
    put(tensor, index, value);
  }

 private:
  struct Tensor {
    std::string name;
    DType dtype = DType::kF32;
    std::vector<std::byte> bytes;
  };

  static void put(Tensor& tensor, std::int64_t index, float value) {
    if (tensor.dtype == DType::kF32) {
      std::memcpy(tensor.bytes.data() + index * 4, &value, 4);
    } else {
      const std::uint16_t bits = to_bf16(value);
      std::memcpy(tensor.bytes.data() + index * 2, &bits, 2);
    }
  }

  void fill(const std::vector<std::int64_t>& shape, Tensor& tensor) {
    std::uint64_t key = seed_ * 0x9E3779B97F4A7C15ULL;
    for (char c : tensor.name) key = (key ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
    const auto ends = [&](std::string_view suffix) { return tensor.name.ends_with(suffix); };
    tensor.dtype = ends("e_score_correction_bias") ? DType::kF32 : dtype_;
    std::int64_t n = 1;
    for (std::int64_t extent : shape) n *= extent;
    tensor.bytes.resize(static_cast<std::size_t>(n) * (tensor.dtype == DType::kF32 ? 4 : 2));
    float centre = 0, spread = 0.1F;
    if (ends("norm.weight") || ends("norm_f.weight") || ends("layernorm.weight") || ends(".D")) centre = 1;
    if (ends("A_log")) centre = 0.7F, spread = 0.7F;
    if (ends("dt_bias")) centre = -2, spread = 1.5F;
    if (ends("conv1d.weight")) spread = 0.5F;
    if (ends("embeddings.weight"))
      spread = 1;
    else if (shape.size() == 2)
      spread = std::sqrt(3.0F / static_cast<float>(shape[1]));
    for (std::int64_t i = 0; i < n; ++i) {
      const PhiloxBlock block = philox(key, {static_cast<std::uint32_t>(i), 0, 0, 0});
      put(tensor, i, centre + spread * (static_cast<float>(block[0]) * 0x1p-31F - 1.0F));
    }
  }

  DType dtype_;
  std::uint64_t seed_;
  std::map<std::string, std::unique_ptr<Tensor>> tensors_;
};

// `schedule` in the characters of config.h. Widths are small and mostly not multiples of 16; with a latent if asked.
inline ModelConfig synthetic_config(std::string_view schedule, std::string_view mtp = "", std::int64_t d_latent = 0) {
  ModelConfig config;
  config.d_model = 40;
  config.vocab_size = 150;
  for (char c : schedule) config.layers.push_back(static_cast<LayerKind>(c));
  for (char c : mtp) config.mtp_layers.push_back(static_cast<LayerKind>(c));
  config.n_mamba_heads = 6;
  config.mamba_head_dim = 10;
  config.d_state = 32;
  config.n_groups = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 16;
  config.d_mlp = 52;
  config.n_experts = 9;
  config.n_experts_per_token = 3;
  config.d_expert = 24;
  config.d_latent = d_latent;
  config.d_shared_expert = 36;
  config.routed_scaling_factor = 2.5F;
  config.eos_tokens = {2};
  return config;
}

struct SyntheticModel {
  std::shared_ptr<SyntheticWeights> weights;
  std::unique_ptr<Engine> engine;
};

inline SyntheticModel make_synthetic(const ModelConfig& config, DType dtype, const EngineOptions& options = {},
                                     std::uint64_t seed = 1) {
  SyntheticModel model;
  model.weights = std::make_shared<SyntheticWeights>(dtype, seed);
  auto engine = make_cpu_engine(config, *model.weights, options, model.weights);
  if (engine) model.engine = std::move(*engine);
  return model;
}

inline std::vector<TokenId> synthetic_tokens(std::int64_t n, std::int64_t vocab, std::uint64_t seed) {
  std::vector<TokenId> tokens;
  for (std::int64_t i = 0; i < n; ++i) {
    tokens.push_back(philox(seed, {static_cast<std::uint32_t>(i), 7, 7, 7})[0] % static_cast<std::uint32_t>(vocab));
  }
  return tokens;
}

}  // namespace longhaul::model
