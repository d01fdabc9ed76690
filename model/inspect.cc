#include "model/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "model/kernels/matmul.h"
#include "runtime/base/sizes.h"

namespace longhaul::model {
namespace {

std::string_view name_of(LayerKind kind) {
  switch (kind) {
    case LayerKind::kMamba:
      return "mamba";
    case LayerKind::kAttention:
      return "attention";
    case LayerKind::kMoe:
      return "moe";
    case LayerKind::kMlp:
      return "mlp";
  }
  return "";
}

// The part of the model that a tensor belongs to.
std::string_view part_of(std::string_view tensor, const ModelConfig& config) {
  if (tensor.starts_with("mtp.")) return "mtp";
  constexpr std::string_view kLayers = "backbone.layers.";
  if (!tensor.starts_with(kLayers)) return "embeddings";
  std::size_t index = 0;
  for (char c : tensor.substr(kLayers.size())) {
    if (c < '0' || c > '9') break;
    index = index * 10 + static_cast<std::size_t>(c - '0');
  }
  return name_of(config.layers[index]);
}

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::uint64_t>::max() : sum;
}

std::uint64_t saturating_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<std::uint64_t>::max() : product;
}

std::string size_text(std::uint64_t bytes) {
  return human_bytes(bytes, 2);
}

// "31.58 B", as models are called by their parameters.
std::string count_text(std::int64_t n) {
  if (n >= 1'000'000'000) return fmt::format("{:.2f} B", static_cast<double>(n) / 1e9);
  if (n >= 1'000'000) return fmt::format("{:.2f} M", static_cast<double>(n) / 1e6);
  return fmt::format("{}", n);
}

StateLayout layout_of(const ModelConfig& config, StoredType stored) {
  auto count = [](const std::vector<LayerKind>& layers, LayerKind kind) {
    return static_cast<std::uint32_t>(std::count(layers.begin(), layers.end(), kind));
  };
  StateLayout layout;
  layout.n_mamba_layers = count(config.layers, LayerKind::kMamba);
  layout.n_attention_layers = count(config.layers, LayerKind::kAttention);
  layout.n_mtp_attention_layers = count(config.mtp_layers, LayerKind::kAttention);
  layout.conv_channels = static_cast<std::uint32_t>(config.conv_channels());
  layout.conv_rows = static_cast<std::uint32_t>(config.d_conv - 1);
  layout.n_mamba_heads = static_cast<std::uint32_t>(config.n_mamba_heads);
  layout.mamba_head_dim = static_cast<std::uint32_t>(config.mamba_head_dim);
  layout.d_state = static_cast<std::uint32_t>(config.d_state);
  layout.n_kv_heads = static_cast<std::uint32_t>(config.n_kv_heads);
  layout.head_dim = static_cast<std::uint32_t>(config.head_dim);
  layout.stored = stored;
  return layout;
}

void count_parameters(const ModelConfig& config, ModelReport& report) {
  for (std::string_view name : {"embeddings", "mamba", "attention", "moe", "mlp", "mtp"}) {
    report.parts.push_back({std::string(name), 0, 0, 0});
  }
  auto part = [&](std::string_view name) -> ModelReport::Part& {
    return *std::find_if(report.parts.begin(), report.parts.end(), [name](const auto& p) { return p.name == name; });
  };
  for (LayerKind kind : config.layers) ++part(name_of(kind)).n_layers;
  part("mtp").n_layers = static_cast<std::int64_t>(config.mtp_layers.size());
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    std::int64_t n = 1;
    for (std::int64_t extent : tensor.shape) n *= extent;
    ModelReport::Part& p = part(part_of(tensor.name, config));
    p.parameters += n;
    // All experts are of one size, so a token uses as much as the first few of them hold.
    const std::size_t expert = tensor.name.find(".experts.");
    if (expert == std::string::npos || std::stoll(tensor.name.substr(expert + 9)) < config.n_experts_per_token) {
      p.active += n;
    }
  }
  for (const ModelReport::Part& p : report.parts) {
    if (p.name == "mtp") {
      report.mtp_parameters = p.parameters;
    } else {
      report.parameters += p.parameters;
      report.active_parameters += p.active;
    }
  }
  std::erase_if(report.parts, [](const ModelReport::Part& p) { return p.parameters == 0; });
}

}  // namespace

ModelReport inspect(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  ModelReport report;
  report.folder = checkpoint.folder();
  for (LayerKind kind : config.layers) report.schedule.push_back(static_cast<char>(kind));
  report.d_model = config.d_model;
  report.vocab_size = config.vocab_size;
  report.n_experts = config.n_experts;
  report.n_experts_per_token = config.n_experts_per_token;
  report.d_latent = config.d_latent;
  report.n_tensors = static_cast<std::int64_t>(checkpoint.tensors().size());
  report.disk_bytes = checkpoint.total_bytes();
  count_parameters(config, report);

  std::map<DType, ModelReport::Type> types;
  StoredType stored = StoredType::kF32;
  for (const TensorView& tensor : checkpoint.tensors()) {
    const auto elements = static_cast<std::uint64_t>(tensor.n_elements());
    const std::uint64_t bytes = elements * element_bytes(tensor.dtype);
    ModelReport::Type& type = types[tensor.dtype];
    type.dtype = tensor.dtype;
    ++type.n_tensors;
    type.bytes += bytes;
    const bool plain = tensor.dtype == DType::kF32 || tensor.dtype == DType::kBf16;
    if (!plain) report.quantised = true;
    const bool is_embedding = tensor.name == "backbone.embeddings.weight";
    if (is_embedding && tensor.dtype == DType::kBf16) stored = StoredType::kBf16;
    if (is_embedding) report.mapped_bytes += bytes;
    if (is_embedding && !config.tie_word_embeddings) continue;
    if (!plain) {
      report.weights_bytes += bytes;
    } else if (tensor.shape.size() == 2) {
      const auto rows = static_cast<std::uint64_t>(tensor.shape[0]);
      const std::uint64_t panels = (rows + kPanel - 1) / kPanel;
      report.weights_bytes +=
          panels * kPanel * static_cast<std::uint64_t>(tensor.shape[1]) * element_bytes(tensor.dtype);
    } else {
      report.weights_bytes += elements * 4;
    }
  }
  for (const auto& [dtype, type] : types) report.types.push_back(type);

  report.layout = layout_of(config, stored);
  report.ssm_bytes = std::uint64_t{report.layout.n_mamba_layers} * report.layout.ssm_floats() * 4;
  report.conv_bytes = std::uint64_t{report.layout.n_mamba_layers} * report.layout.conv_bytes();
  report.kv_bytes_per_token = std::uint64_t{report.layout.n_attention_layers} * 2 * report.layout.row_bytes();
  report.mtp_kv_bytes_per_token = std::uint64_t{report.layout.n_mtp_attention_layers} * 2 * report.layout.row_bytes();
  return report;
}

json::object to_json(const ModelReport& report) {
  json::object out;
  out["folder"] = report.folder;
  out["schedule"] = report.schedule;
  out["d_model"] = report.d_model;
  out["vocab_size"] = report.vocab_size;
  out["n_experts"] = report.n_experts;
  out["n_experts_per_token"] = report.n_experts_per_token;
  out["d_latent"] = report.d_latent;
  out["tensors"] = report.n_tensors;
  out["parameters"] = report.parameters;
  out["active_parameters"] = report.active_parameters;
  out["mtp_parameters"] = report.mtp_parameters;
  json::array parts;
  for (const ModelReport::Part& part : report.parts) {
    parts.push_back(json::object{
        {"name", part.name}, {"layers", part.n_layers}, {"parameters", part.parameters}, {"active", part.active}});
  }
  out["parts"] = std::move(parts);
  json::array types;
  for (const ModelReport::Type& type : report.types) {
    types.push_back(json::object{{"dtype", to_string(type.dtype)}, {"tensors", type.n_tensors}, {"bytes", type.bytes}});
  }
  out["types"] = std::move(types);
  out["quantised"] = report.quantised;
  out["disk_bytes"] = report.disk_bytes;
  out["weights_bytes"] = report.weights_bytes;
  out["mapped_bytes"] = report.mapped_bytes;
  out["ssm_bytes"] = report.ssm_bytes;
  out["conv_bytes"] = report.conv_bytes;
  out["kv_bytes_per_token"] = report.kv_bytes_per_token;
  out["mtp_kv_bytes_per_token"] = report.mtp_kv_bytes_per_token;
  return out;
}

std::string to_table(const ModelReport& report) {
  std::string out;
  auto line = [&out](std::string_view name, const std::string& value) {
    out += fmt::format("{:<22}{}\n", name, value);
  };
  line("folder", report.folder);
  line("layers", fmt::format("{}: {}", report.schedule.size(), report.schedule));
  line("widths", fmt::format("model {}, vocabulary {}", report.d_model, report.vocab_size));
  if (report.n_experts > 0) {
    line("experts", fmt::format("{} of {} a token{}", report.n_experts_per_token, report.n_experts,
                                report.d_latent > 0 ? fmt::format(", latent width {}", report.d_latent) : ""));
  }
  line("parameters",
       fmt::format("{} ({} active a token)", count_text(report.parameters), count_text(report.active_parameters)));
  for (const ModelReport::Part& part : report.parts) {
    const std::string layers = part.n_layers > 0 ? fmt::format("{} x ", part.n_layers) : "";
    line("  " + layers + part.name,
         fmt::format("{} ({} active)", count_text(part.parameters), count_text(part.active)));
  }
  line("on disk", fmt::format("{} in {} tensors", size_text(report.disk_bytes), report.n_tensors));
  for (const ModelReport::Type& type : report.types) {
    line(fmt::format("  {}", to_string(type.dtype)),
         fmt::format("{} in {} tensors", size_text(type.bytes), type.n_tensors));
  }
  if (report.quantised) line("note", "quantised: shown here, not computed with yet");
  line("weights in memory",
       fmt::format("{}, and {} mapped", size_text(report.weights_bytes), size_text(report.mapped_bytes)));
  line("state of a sequence",
       fmt::format("{} (SSM {}, convolution {})", size_text(report.ssm_bytes + report.conv_bytes),
                   size_text(report.ssm_bytes), size_text(report.conv_bytes)));
  line("KV of a token", fmt::format("{} B{}", report.kv_bytes_per_token,
                                    report.mtp_kv_bytes_per_token > 0
                                        ? fmt::format(" (and {} B for drafts)", report.mtp_kv_bytes_per_token)
                                        : ""));
  for (std::uint64_t context : {std::uint64_t{8192}, std::uint64_t{131072}, std::uint64_t{1048576}}) {
    line(fmt::format("  at {} tokens", context), size_text(saturating_multiply(context, report.kv_bytes_per_token)));
  }
  return out;
}

Result<Plan> plan(const ModelReport& report, const PlanRequest& request) {
  if (request.context < 0) return invalid_argument(fmt::format("context {} is below 0", request.context));
  if (request.n_sequences < 1)
    return invalid_argument(fmt::format("{} sequences, expected 1 or more", request.n_sequences));
  Plan out;
  out.request = request;
  out.weights_bytes = report.weights_bytes + report.mapped_bytes;
  const std::uint64_t fixed = report.ssm_bytes + report.conv_bytes;
  const std::uint64_t page = (report.kv_bytes_per_token + report.mtp_kv_bytes_per_token) * kPageTokens;
  const std::uint64_t pages = (static_cast<std::uint64_t>(request.context) + kPageTokens - 1) / kPageTokens;
  const auto n_sequences = static_cast<std::uint64_t>(request.n_sequences);
  out.sequence_bytes = saturating_add(fixed, saturating_multiply(pages, page));
  out.total_bytes = saturating_add(out.weights_bytes, saturating_multiply(n_sequences, out.sequence_bytes));
  out.fits = out.total_bytes <= request.memory_bytes;
  if (request.memory_bytes <= out.weights_bytes) return out;

  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const std::uint64_t room = request.memory_bytes - out.weights_bytes;
  const std::uint64_t of_one = room / n_sequences;
  if (of_one >= fixed) {
    const std::uint64_t n_pages = page == 0 ? kMost : (of_one - fixed) / page;
    out.context_max = static_cast<std::int64_t>(std::min(saturating_multiply(n_pages, kPageTokens), kMost));
  }
  out.n_sequences_max =
      static_cast<std::int64_t>(std::min(out.sequence_bytes == 0 ? kMost : room / out.sequence_bytes, kMost));
  return out;
}

json::object to_json(const Plan& plan) {
  return {{"memory_bytes", plan.request.memory_bytes},
          {"context", plan.request.context},
          {"sequences", plan.request.n_sequences},
          {"weights_bytes", plan.weights_bytes},
          {"sequence_bytes", plan.sequence_bytes},
          {"total_bytes", plan.total_bytes},
          {"fits", plan.fits},
          {"context_max", plan.context_max},
          {"sequences_max", plan.n_sequences_max}};
}

std::string to_table(const Plan& plan) {
  std::string out;
  auto line = [&out](std::string_view name, const std::string& value) {
    out += fmt::format("{:<22}{}\n", name, value);
  };
  line("memory", size_text(plan.request.memory_bytes));
  line("weights", size_text(plan.weights_bytes));
  line("a sequence", fmt::format("{} at {} tokens", size_text(plan.sequence_bytes), plan.request.context));
  line("in all", fmt::format("{} with {} sequences: {}", size_text(plan.total_bytes), plan.request.n_sequences,
                             plan.fits ? "fits" : "does not fit"));
  line("longest context", fmt::format("{} tokens with {} sequences", plan.context_max, plan.request.n_sequences));
  line("most sequences", fmt::format("{} at {} tokens", plan.n_sequences_max, plan.request.context));
  return out;
}

}  // namespace longhaul::model
