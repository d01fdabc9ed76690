// A Hugging Face folder of the family, opened and checked, not yet computed with: config.json, sharded safetensors by
// mmap, tensor names and shapes against the config, digest. Facts on names and shapes: the family's published files.
// Immutable once open; safe to read from any thread. The files must not shrink meanwhile (the system ends a process
// that reads behind the end of a mapped file).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "runtime/base/hash.h"
#include "runtime/base/result.h"

namespace longhaul::model {

enum class DType : std::uint8_t { kF32, kBf16, kF16, kF8E4M3, kU8, kI8, kI32, kI64, kBool };
std::string_view to_string(DType dtype);
std::size_t element_bytes(DType dtype);

// A tensor as it lies in the file: row-major, little-endian, borrowed from the mapping (valid while the Checkpoint is),
// aligned to its elements. A name that begins with "model." (transformers' name in memory) is given as "backbone.".
struct TensorView {
  std::string_view name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  std::int64_t n_elements() const;
};

struct ExpectedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
};

// Every tensor that a checkpoint of this config has (unquantised), in the order of layers; MTP last.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

class Checkpoint {
 public:
  // Opens and checks `folder`: every expected tensor present with its shape, none unknown, no overlap, headers within
  // the file, a dtype we read (F32, BF16; others are named and refused). kNotFound / kCorruption / kUnsupported name
  // file and tensor. `headers_only`: data sections may be missing (views are then empty), quantised tensors and their
  // scales are accepted, nothing may be computed.
  static Result<std::unique_ptr<Checkpoint>> open(const std::string& folder, bool headers_only = false);
  ~Checkpoint();
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const std::string& folder() const;
  const ModelConfig& config() const;
  const std::vector<TensorView>& tensors() const;       // sorted by name
  const TensorView* find(std::string_view name) const;  // nullptr if there is none
  std::uint64_t total_bytes() const;

  // The fingerprint: a digest over all that decides logits, namely the config's dimensions, schedule and constants, and
  // for each tensor in the order of names its name, dtype, shape and the digest of its bytes. It does not depend on
  // sharding, metadata, or advisory fields (lengths, end tokens, chat format). Reads every byte; remembered by path,
  // size, time and inode in `cache_file` (a small JSON file, replaced atomically) unless that is empty. A cache that
  // cannot be read or written is passed over. `progress` gets bytes done and total. kInvalidArgument if data is missing
  // (headers_only).
  Result<Digest> digest(const std::string& cache_file,
                        const std::function<void(std::uint64_t, std::uint64_t)>& progress = {}) const;
  // What `cache_file` holds for these files as they are; nothing once one of them was written or replaced. Setting it
  // puts right what a changed byte under an unchanged time and size had made wrong.
  std::optional<Digest> remembered_digest(const std::string& cache_file) const;
  void remember_digest(const std::string& cache_file, const Digest& digest) const;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace longhaul::model
