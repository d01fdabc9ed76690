// Safetensors by mmap. Everything a header says is checked against the file before a view is handed out, so that later
// code may trust names, shapes and spans. Format: 8 bytes little-endian header length, a JSON object of
// name -> {dtype, shape, data_offsets} relative to the end of the header, then the data without holes.
#include "model/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <simdjson.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "runtime/base/file.h"
#include "runtime/base/json.h"

namespace longhaul::model {
namespace {

namespace dom = simdjson::dom;

// The reference reader's bound on a header. The family's largest (Ultra NVFP4, 198,887 tensors) is about 30 MB in all.
constexpr std::uint64_t kHeaderBytesMax = 100'000'000;
constexpr std::size_t kIndexBytesMax = 256 << 20;
constexpr std::size_t kTensorsMax = 1 << 20;
constexpr std::size_t kRankMax = 8;
constexpr std::size_t kDigestPiece = 8 << 20;

struct DTypeName {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
};
constexpr DTypeName kDTypes[] = {
    {DType::kF32, "F32", 4},        {DType::kBf16, "BF16", 2}, {DType::kF16, "F16", 2},
    {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kU8, "U8", 1},     {DType::kI8, "I8", 1},
    {DType::kI32, "I32", 4},        {DType::kI64, "I64", 8},   {DType::kBool, "BOOL", 1},
};

std::optional<DType> dtype_of(std::string_view name) {
  for (const DTypeName& entry : kDTypes) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

bool is_quantised(DType dtype) {
  return dtype == DType::kU8 || dtype == DType::kF8E4M3;
}
bool is_computed(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBf16;
}

std::string show(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// A file mapped read-only. A file that shrinks while it is mapped ends the process with SIGBUS; checkpoints are not
// edited in place, and copying gigabytes to guard against it is not worth it.
class Mapping {
 public:
  static Result<std::unique_ptr<Mapping>> open(const std::string& path) {
    // Not blocking, for the case that the name is a pipe's.
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
      return make_error(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                        fmt::format("cannot open {}: {}", path, std::strerror(errno)));
    }
    struct ::stat status = {};
    std::unique_ptr<Mapping> mapping(new Mapping);
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(fd);
      return io_error(fmt::format("{} is not a regular file", path));
    }
    mapping->size_ = static_cast<std::size_t>(status.st_size);
    mapping->identity_ = fmt::format("{}:{}:{}.{:09}:{}", path, status.st_size, status.st_mtim.tv_sec,
                                     status.st_mtim.tv_nsec, status.st_ino);
    if (mapping->size_ > 0) {
      void* start = ::mmap(nullptr, mapping->size_, PROT_READ, MAP_SHARED, fd, 0);
      if (start == MAP_FAILED) {
        Error error = io_error(fmt::format("cannot map {}: {}", path, std::strerror(errno)));
        ::close(fd);
        return error;
      }
      mapping->start_ = static_cast<const std::byte*>(start);
    }
    ::close(fd);
    return mapping;
  }
  ~Mapping() {
    if (start_ != nullptr) ::munmap(const_cast<std::byte*>(start_), size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::span<const std::byte> bytes() const { return {start_, size_}; }
  // Changes when the file is replaced or written: path, size, time, inode.
  const std::string& identity() const { return identity_; }

 private:
  Mapping() = default;
  const std::byte* start_ = nullptr;
  std::size_t size_ = 0;
  std::string identity_;
};

struct HeaderEntry {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;
};

// One {dtype, shape, data_offsets}; the product of the shape and the offsets must agree.
Result<HeaderEntry> read_entry(std::string_view name, const dom::element& value, const std::string& place) {
  auto wrong = [&](std::string_view what) { return corruption(fmt::format("{}: tensor {}: {}", place, name, what)); };
  dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return wrong("not an object");
  HeaderEntry entry;
  entry.name = std::string(name);
  bool have_dtype = false, have_shape = false, have_offsets = false;
  for (const auto& member : object) {
    if (member.key == "dtype" && !have_dtype) {
      std::string_view text;
      if (member.value.get_string().get(text) != simdjson::SUCCESS) return wrong("dtype is not a string");
      auto dtype = dtype_of(text);
      if (!dtype)
        return unsupported(fmt::format("{}: tensor {} has dtype \"{}\", which is not known", place, name, text));
      entry.dtype = *dtype;
      have_dtype = true;
    } else if (member.key == "shape" && !have_shape) {
      dom::array list;
      if (member.value.get_array().get(list) != simdjson::SUCCESS) return wrong("shape is not a list");
      for (const dom::element& extent : list) {
        std::int64_t n = 0;
        if (extent.get_int64().get(n) != simdjson::SUCCESS || n < 0) return wrong("shape holds something not a size");
        entry.shape.push_back(n);
        if (entry.shape.size() > kRankMax) return wrong(fmt::format("more than {} dimensions", kRankMax));
      }
      have_shape = true;
    } else if (member.key == "data_offsets" && !have_offsets) {
      dom::array list;
      if (member.value.get_array().get(list) != simdjson::SUCCESS || list.size() != 2 ||
          list.at(0).get_uint64().get(entry.begin) != simdjson::SUCCESS ||
          list.at(1).get_uint64().get(entry.end) != simdjson::SUCCESS) {
        return wrong("data_offsets is not a pair of offsets");
      }
      have_offsets = true;
    } else {
      return wrong(fmt::format("field \"{}\" is not of the format, or stands there twice", member.key));
    }
  }
  if (!have_dtype || !have_shape || !have_offsets) return wrong("dtype, shape or data_offsets is missing");
  std::uint64_t bytes = element_bytes(entry.dtype);
  for (std::int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) {
      return wrong(fmt::format("shape {} overflows", show(entry.shape)));
    }
  }
  if (entry.begin > entry.end || entry.end - entry.begin != bytes) {
    return wrong(fmt::format("offsets {} to {} hold {} bytes, but {} {} needs {}", entry.begin, entry.end,
                             static_cast<std::int64_t>(entry.end - entry.begin), to_string(entry.dtype),
                             show(entry.shape), bytes));
  }
  return entry;
}

struct Header {
  std::vector<HeaderEntry> entries;  // by offset
  std::uint64_t data_start = 0;      // of the file
};

Result<Header> read_header(std::span<const std::byte> file, const std::string& place, bool headers_only) {
  if (file.size() < 8) {
    return corruption(fmt::format("{}: {} bytes, a safetensors file begins with 8", place, file.size()));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  if (length > kHeaderBytesMax || length > file.size() - 8) {
    return corruption(fmt::format("{}: the header is said to have {} bytes, the file has {} (header at most {})", place,
                                  length, file.size(), kHeaderBytesMax));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  dom::parser parser;
  dom::element root;
  if (auto error = parser.parse(simdjson::padded_string(text)).get(root); error != simdjson::SUCCESS) {
    return corruption(fmt::format("{}: header is not JSON: {}", place, simdjson::error_message(error)));
  }
  dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) {
    return corruption(fmt::format("{}: header is not a JSON object", place));
  }
  Header header;
  header.data_start = 8 + length;
  for (const auto& member : object) {
    if (member.key == "__metadata__") continue;
    if (header.entries.size() == kTensorsMax) {
      return corruption(fmt::format("{}: more than {} tensors", place, kTensorsMax));
    }
    auto entry = read_entry(member.key, member.value, place);
    if (!entry) return entry.error();
    header.entries.push_back(std::move(*entry));
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  // No holes and no overlap, as the reference reader demands: so no byte of the file is left unexplained.
  std::uint64_t at = 0;
  for (const HeaderEntry& entry : header.entries) {
    if (entry.begin != at) {
      return corruption(fmt::format("{}: tensor {} begins at {}, but the data before it ends at {}", place, entry.name,
                                    entry.begin, at));
    }
    at = entry.end;
  }
  const std::uint64_t present = file.size() - header.data_start;
  if (present != at && !(headers_only && present < at)) {
    return corruption(fmt::format("{}: the tensors need {} bytes of data, the file has {}", place, at, present));
  }
  return header;
}

// The names on disk begin with "backbone."; transformers >= 5 calls the same thing "model." in memory.
std::string canonical_name(std::string name) {
  if (name.starts_with("model.")) return "backbone." + name.substr(6);
  return name;
}

// Which files hold the tensors, and (with an index) which tensor is where.
struct ShardList {
  std::vector<std::string> files;
  std::map<std::string, std::string, std::less<>> file_of;  // by name on disk; empty without an index
};

Result<ShardList> find_shards(const std::string& folder) {
  ShardList shards;
  const std::string index_path = folder + "/model.safetensors.index.json";
  auto text = read_file(index_path, kIndexBytesMax);
  if (!text && text.error().code != ErrorCode::kNotFound) return text.error();
  if (!text) {
    shards.files.push_back("model.safetensors");
    return shards;
  }
  dom::parser parser;
  dom::element root;
  if (auto error = parser.parse(*text).get(root); error != simdjson::SUCCESS) {
    return corruption(fmt::format("{}: not JSON: {}", index_path, simdjson::error_message(error)));
  }
  dom::object map;
  if (root["weight_map"].get_object().get(map) != simdjson::SUCCESS) {
    return corruption(fmt::format("{}: no object \"weight_map\"", index_path));
  }
  std::unordered_set<std::string_view> seen;
  for (const auto& member : map) {
    std::string_view file;
    if (member.value.get_string().get(file) != simdjson::SUCCESS) {
      return corruption(fmt::format("{}: the file of tensor {} is not a string", index_path, member.key));
    }
    // A path here would let a checkpoint point outside its folder.
    if (file.empty() || file.find('/') != std::string_view::npos || file.find('\0') != std::string_view::npos ||
        !file.ends_with(".safetensors")) {
      return corruption(fmt::format("{}: tensor {} is said to be in \"{}\", not a file name ending in .safetensors",
                                    index_path, member.key, file));
    }
    if (shards.file_of.size() == kTensorsMax) {
      return corruption(fmt::format("{}: more than {} tensors", index_path, kTensorsMax));
    }
    if (!shards.file_of.emplace(member.key, file).second) {
      return corruption(fmt::format("{}: tensor {} stands there twice", index_path, member.key));
    }
    if (seen.insert(file).second) shards.files.emplace_back(file);
  }
  std::sort(shards.files.begin(), shards.files.end());
  if (shards.files.empty()) return corruption(fmt::format("{}: names no tensor", index_path));
  return shards;
}

// What a quantised checkpoint stores beside the weights (ModelOpt): scales. Only their names and shapes are known here.
struct Companion {
  std::string_view suffix;
  bool block_scales;  // may have one value for 16 columns
};
constexpr Companion kCompanions[] = {{".weight_scale", true},
                                     {".weight_scale_2", false},
                                     {".input_scale", false},
                                     {".k_scale", false},
                                     {".v_scale", false}};

using Shapes = std::unordered_map<std::string_view, const std::vector<std::int64_t>*>;

// True if `tensor` is a scale of an expected weight and has a shape that such a scale can have.
bool is_companion(const TensorView& tensor, const Shapes& expected) {
  for (const Companion& companion : kCompanions) {
    if (!tensor.name.ends_with(companion.suffix)) continue;
    auto weight =
        expected.find(std::string(tensor.name.substr(0, tensor.name.size() - companion.suffix.size())) + ".weight");
    if (weight == expected.end()) return false;
    if (tensor.shape.empty() || tensor.shape == std::vector<std::int64_t>{1}) return true;
    const std::vector<std::int64_t>& shape = *weight->second;
    return companion.block_scales && shape.size() == 2 &&
           tensor.shape == std::vector<std::int64_t>{shape[0], shape[1] / 16};
  }
  return false;
}

Result<void> check_tensors(const std::vector<TensorView>& tensors, const ModelConfig& config, const std::string& folder,
                           bool headers_only) {
  const std::vector<ExpectedTensor> list = expected_tensors(config);
  Shapes expected;
  expected.reserve(list.size());
  for (const ExpectedTensor& entry : list) expected.emplace(entry.name, &entry.shape);

  std::size_t n_found = 0, n_unknown = 0;
  std::string_view unknown;
  for (const TensorView& tensor : tensors) {
    if (!headers_only && is_quantised(tensor.dtype)) {
      return unsupported(fmt::format("{}: tensor {} is {}: quantised checkpoints are not read yet", folder, tensor.name,
                                     to_string(tensor.dtype)));
    }
    auto it = expected.find(tensor.name);
    if (it == expected.end()) {
      if (headers_only && is_companion(tensor, expected)) continue;
      if (n_unknown++ == 0) unknown = tensor.name;
      continue;
    }
    ++n_found;
    std::vector<std::int64_t> shape = *it->second;
    if (tensor.dtype == DType::kU8 && shape.size() == 2) shape[1] /= 2;  // two 4-bit codes a byte
    if (tensor.shape != shape) {
      return corruption(fmt::format("{}: tensor {} has shape {}, config.json gives {}", folder, tensor.name,
                                    show(tensor.shape), show(shape)));
    }
    if (!is_computed(tensor.dtype) && !is_quantised(tensor.dtype)) {
      return unsupported(
          fmt::format("{}: tensor {} is {}; F32 and BF16 are read", folder, tensor.name, to_string(tensor.dtype)));
    }
  }
  if (n_found != list.size()) {
    std::unordered_set<std::string_view> present;
    for (const TensorView& tensor : tensors) present.insert(tensor.name);
    for (const ExpectedTensor& entry : list) {
      if (present.contains(entry.name)) continue;
      return corruption(fmt::format("{}: tensor {} {} is missing ({} of {} expected tensors are there)", folder,
                                    entry.name, show(entry.shape), n_found, list.size()));
    }
  }
  if (n_unknown > 0) {
    return corruption(fmt::format("{}: tensor {} is not part of a model with this config.json ({} such)", folder,
                                  unknown, n_unknown));
  }
  return {};
}

// What decides the logits, one field a line. Advisory fields (length, end tokens, chat layout) are left out: editing
// them does not make another model.
std::string canonical_text(const ModelConfig& config) {
  auto schedule = [](const std::vector<LayerKind>& layers) {
    std::string text;
    for (LayerKind kind : layers) text.push_back(static_cast<char>(kind));
    return text;
  };
  return fmt::format(
      "longhaul model 1\nd_model {}\nvocab_size {}\nlayers {}\nmtp {}\nmamba {} {} {} {} {} {} {}\nattention {} {} {} "
      "{}\n"
      "mlp {} {}\nexperts {} {} {} {} {} {} {} {} {}\nnorm_eps {}\ntied {}\n",
      config.d_model, config.vocab_size, schedule(config.layers), schedule(config.mtp_layers), config.n_mamba_heads,
      config.mamba_head_dim, config.d_state, config.n_groups, config.d_conv, config.mamba_proj_bias,
      config.use_conv_bias, config.n_heads, config.n_kv_heads, config.head_dim, config.attention_bias, config.d_mlp,
      config.mlp_bias, config.n_experts, config.n_experts_per_token, config.d_expert, config.d_latent,
      config.d_shared_expert, config.n_expert_groups, config.n_top_groups, config.norm_topk_prob,
      config.routed_scaling_factor, config.norm_eps, config.tie_word_embeddings);
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The digest cache is a convenience: unreadable or damaged, it is as if it were not there.
constexpr std::size_t kCacheEntriesMax = 256;

std::optional<Digest> digest_from_hex(std::string_view hex) {
  if (hex.size() != 32) return std::nullopt;
  std::uint64_t words[2] = {0, 0};
  for (std::size_t i = 0; i < 32; ++i) {
    const char c = hex[i];
    const int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0) return std::nullopt;
    words[i / 16] = words[i / 16] << 4 | static_cast<std::uint64_t>(value);
  }
  return Digest{words[0], words[1]};
}

json::object read_cache(const std::string& path) {
  auto text = read_file(path, 1 << 20);
  if (!text) return {};
  auto value = parse_json(*text);
  if (!value || !value->is_object()) return {};
  return value->get_object();
}

}  // namespace

std::string_view to_string(DType dtype) {
  for (const DTypeName& entry : kDTypes) {
    if (entry.dtype == dtype) return entry.name;
  }
  return "?";
}

std::size_t element_bytes(DType dtype) {
  for (const DTypeName& entry : kDTypes) {
    if (entry.dtype == dtype) return entry.bytes;
  }
  return 0;
}

std::int64_t TensorView::n_elements() const {
  std::int64_t n = 1;
  for (std::int64_t extent : shape) n *= extent;
  return n;
}

namespace {

// Appends the tensors of one mixer. `at` is "backbone.layers.7." or "mtp.layers.0.".
void expect_layer(const ModelConfig& config, LayerKind kind, const std::string& at, std::vector<ExpectedTensor>& out) {
  auto add = [&](std::string_view name, std::vector<std::int64_t> shape) {
    out.push_back({at + std::string(name), std::move(shape)});
  };
  const std::int64_t d = config.d_model;
  add("norm.weight", {d});
  switch (kind) {
    case LayerKind::kMamba:
      add("mixer.in_proj.weight", {config.in_proj_rows(), d});
      if (config.mamba_proj_bias) add("mixer.in_proj.bias", {config.in_proj_rows()});
      add("mixer.conv1d.weight", {config.conv_channels(), 1, config.d_conv});
      if (config.use_conv_bias) add("mixer.conv1d.bias", {config.conv_channels()});
      add("mixer.A_log", {config.n_mamba_heads});
      add("mixer.D", {config.n_mamba_heads});
      add("mixer.dt_bias", {config.n_mamba_heads});
      add("mixer.norm.weight", {config.d_inner()});
      add("mixer.out_proj.weight", {d, config.d_inner()});
      if (config.mamba_proj_bias) add("mixer.out_proj.bias", {d});
      return;
    case LayerKind::kAttention: {
      const std::int64_t q = config.n_heads * config.head_dim, kv = config.n_kv_heads * config.head_dim;
      for (auto [name, rows, columns] : {std::tuple{"q", q, d}, {"k", kv, d}, {"v", kv, d}, {"o", d, q}}) {
        add(fmt::format("mixer.{}_proj.weight", name), {rows, columns});
        if (config.attention_bias) add(fmt::format("mixer.{}_proj.bias", name), {rows});
      }
      return;
    }
    case LayerKind::kMoe:
      add("mixer.gate.weight", {config.n_experts, d});
      add("mixer.gate.e_score_correction_bias", {config.n_experts});
      if (config.d_latent != 0) {
        add("mixer.fc1_latent_proj.weight", {config.d_latent, d});
        add("mixer.fc2_latent_proj.weight", {d, config.d_latent});
      }
      for (std::int64_t i = 0; i < config.n_experts; ++i) {
        add(fmt::format("mixer.experts.{}.up_proj.weight", i), {config.d_expert, config.expert_io()});
        add(fmt::format("mixer.experts.{}.down_proj.weight", i), {config.expert_io(), config.d_expert});
      }
      add("mixer.shared_experts.up_proj.weight", {config.d_shared_expert, d});
      add("mixer.shared_experts.down_proj.weight", {d, config.d_shared_expert});
      return;
    case LayerKind::kMlp:
      add("mixer.up_proj.weight", {config.d_mlp, d});
      if (config.mlp_bias) add("mixer.up_proj.bias", {config.d_mlp});
      add("mixer.down_proj.weight", {d, config.d_mlp});
      if (config.mlp_bias) add("mixer.down_proj.bias", {d});
      return;
  }
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> out;
  out.push_back({"backbone.embeddings.weight", {config.vocab_size, config.d_model}});
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    expect_layer(config, config.layers[i], fmt::format("backbone.layers.{}.", i), out);
  }
  out.push_back({"backbone.norm_f.weight", {config.d_model}});
  if (!config.tie_word_embeddings) out.push_back({"lm_head.weight", {config.vocab_size, config.d_model}});
  for (std::size_t i = 0; i < config.mtp_layers.size(); ++i) {
    const std::string at = fmt::format("mtp.layers.{}.", i);
    if (i == 0) {
      out.push_back({at + "enorm.weight", {config.d_model}});
      out.push_back({at + "hnorm.weight", {config.d_model}});
      out.push_back({at + "eh_proj.weight", {config.d_model, 2 * config.d_model}});
    }
    expect_layer(config, config.mtp_layers[i], at, out);
    if (i + 1 == config.mtp_layers.size()) out.push_back({at + "final_layernorm.weight", {config.d_model}});
  }
  return out;
}

struct Checkpoint::Impl {
  std::string folder;
  ModelConfig config;
  std::vector<std::unique_ptr<Mapping>> mappings;
  std::deque<std::string> names;  // what the views' names point into
  std::vector<TensorView> tensors;
  std::uint64_t total_bytes = 0;
  bool headers_only = false;

  Result<void> read_tensors();
  // Names exactly these files as they are now.
  std::string cache_key() const;
  Result<Digest> compute_digest(const std::function<void(std::uint64_t, std::uint64_t)>& progress) const;
};

Result<void> Checkpoint::Impl::read_tensors() {
  auto shards = find_shards(folder);
  if (!shards) return shards.error();
  std::size_t n_listed = 0;
  for (const std::string& file : shards->files) {
    const std::string path = folder + "/" + file;
    auto mapping = Mapping::open(path);
    if (!mapping) return mapping.error();
    const std::span<const std::byte> bytes = (*mapping)->bytes();
    mappings.push_back(std::move(*mapping));
    auto header = read_header(bytes, path, headers_only);
    if (!header) return header.error();
    for (HeaderEntry& entry : header->entries) {
      if (!shards->file_of.empty()) {
        auto listed = shards->file_of.find(entry.name);
        if (listed == shards->file_of.end() || listed->second != file) {
          return corruption(fmt::format("{}: tensor {} is here, the index says {}", path, entry.name,
                                        listed == shards->file_of.end() ? "nowhere" : listed->second));
        }
        ++n_listed;
      }
      TensorView view;
      view.name = names.emplace_back(canonical_name(std::move(entry.name)));
      view.dtype = entry.dtype;
      view.shape = std::move(entry.shape);
      const std::uint64_t size = entry.end - entry.begin, start = header->data_start + entry.begin;
      if (start <= bytes.size() && size <= bytes.size() - start) {
        view.bytes = bytes.subspan(start, size);
        // Kernels read whole elements. The format's own writers align; a file that does not is refused, not copied.
        if (reinterpret_cast<std::uintptr_t>(view.bytes.data()) % element_bytes(view.dtype) != 0) {
          return unsupported(fmt::format("{}: tensor {} begins at byte {}, not at a multiple of {}", path, view.name,
                                         start, element_bytes(view.dtype)));
        }
      }
      total_bytes += size;
      tensors.push_back(std::move(view));
    }
  }
  if (n_listed != shards->file_of.size()) {
    std::unordered_set<std::string_view> present(names.begin(), names.end());
    for (const auto& [name, file] : shards->file_of) {
      if (!present.contains(canonical_name(name))) {
        return corruption(fmt::format("{}/{}: tensor {} is missing, the index says it is here", folder, file, name));
      }
    }
  }
  std::sort(tensors.begin(), tensors.end(), [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < tensors.size(); ++i) {
    if (tensors[i].name == tensors[i - 1].name) {
      return corruption(fmt::format("{}: tensor {} stands there twice", folder, tensors[i].name));
    }
  }
  return check_tensors(tensors, config, folder, headers_only);
}

std::string Checkpoint::Impl::cache_key() const {
  std::string identity = canonical_text(config);
  for (const auto& mapping : mappings) identity += mapping->identity() + "\n";
  return digest_of(identity).hex();
}

Result<Digest> Checkpoint::Impl::compute_digest(
    const std::function<void(std::uint64_t, std::uint64_t)>& progress) const {
  Hasher whole;
  whole.update(canonical_text(config));
  std::uint64_t done = 0;
  for (const TensorView& tensor : tensors) {
    Hasher hasher;
    std::string_view bytes = as_text(tensor.bytes);
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, kDigestPiece);
      hasher.update(piece);
      bytes.remove_prefix(piece.size());
      done += piece.size();
      if (progress) progress(done, total_bytes);
    }
    whole.update(
        fmt::format("{} {} {} {}\n", tensor.name, to_string(tensor.dtype), show(tensor.shape), hasher.finish().hex()));
  }
  return whole.finish();
}

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::~Checkpoint() = default;

Result<std::unique_ptr<Checkpoint>> Checkpoint::open(const std::string& folder, bool headers_only) {
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  impl->headers_only = headers_only;
  const std::string config_path = folder + "/config.json";
  auto config_text = read_file(config_path, 16 << 20);
  if (!config_text) return config_text.error();
  auto generation_text = read_file(folder + "/generation_config.json", 16 << 20);
  if (!generation_text && generation_text.error().code != ErrorCode::kNotFound) return generation_text.error();
  auto config = parse_model_config(*config_text, generation_text ? *generation_text : std::string(), config_path);
  if (!config) return config.error();
  impl->config = std::move(*config);
  if (auto read = impl->read_tensors(); !read) return read.error();
  return std::unique_ptr<Checkpoint>(new Checkpoint(std::move(impl)));
}

const std::string& Checkpoint::folder() const {
  return impl_->folder;
}
const ModelConfig& Checkpoint::config() const {
  return impl_->config;
}
const std::vector<TensorView>& Checkpoint::tensors() const {
  return impl_->tensors;
}
std::uint64_t Checkpoint::total_bytes() const {
  return impl_->total_bytes;
}

const TensorView* Checkpoint::find(std::string_view name) const {
  auto it = std::lower_bound(impl_->tensors.begin(), impl_->tensors.end(), name,
                             [](const TensorView& tensor, std::string_view key) { return tensor.name < key; });
  return it != impl_->tensors.end() && it->name == name ? &*it : nullptr;
}

Result<Digest> Checkpoint::digest(const std::string& cache_file,
                                  const std::function<void(std::uint64_t, std::uint64_t)>& progress) const {
  for (const TensorView& tensor : impl_->tensors) {
    if (tensor.bytes.empty() && tensor.n_elements() != 0) {
      return invalid_argument(
          fmt::format("{}: tensor {} has no data here; there is nothing to fingerprint", folder(), tensor.name));
    }
  }
  if (auto digest = remembered_digest(cache_file)) return *digest;
  auto digest = impl_->compute_digest(progress);
  if (digest) remember_digest(cache_file, *digest);
  return digest;
}

std::optional<Digest> Checkpoint::remembered_digest(const std::string& cache_file) const {
  if (cache_file.empty()) return std::nullopt;
  const json::object cache = read_cache(cache_file);
  const auto it = cache.find(impl_->cache_key());
  if (it == cache.end() || !it->value().is_string()) return std::nullopt;
  return digest_from_hex(it->value().get_string());
}

void Checkpoint::remember_digest(const std::string& cache_file, const Digest& digest) const {
  if (cache_file.empty()) return;
  json::object cache = read_cache(cache_file);
  if (cache.size() >= kCacheEntriesMax) cache.clear();
  cache[impl_->cache_key()] = digest.hex();
  // Not being able to remember costs time at the next opening, nothing else.
  (void)write_file_atomic(cache_file, to_json(cache) + "\n").has_value();
}

}  // namespace longhaul::model
