// Weights as the kernels want them: matrices packed in panels, vectors in fp32. Where they come from is a WeightSource,
// so that layers can be tested without files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.h"
#include "model/kernels/matmul.h"
#include "runtime/base/result.h"

namespace longhaul::model {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // The tensor `name` of exactly this shape, F32 or BF16. The bytes live as long as the source. kCorruption names the
  // tensor and both shapes; kUnsupported names the dtype.
  virtual Result<TensorView> get(std::string_view name, const std::vector<std::int64_t>& shape) = 0;
};

class CheckpointWeights : public WeightSource {
 public:
  explicit CheckpointWeights(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  Result<TensorView> get(std::string_view name, const std::vector<std::int64_t>& shape) override;

 private:
  const Checkpoint& checkpoint_;
};

// A matrix [n_out, n_in] in panels, on 64-byte boundaries. Moves, never copies: it may be a gigabyte.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Two dimensions, F32 or BF16. kResourceExhausted names the tensor and its size if there is no memory for it.
  static Result<PackedMatrix> pack(const TensorView& tensor);

  const PackedView& view() const { return view_; }
  std::int64_t n_out() const { return view_.n_out; }
  std::int64_t n_in() const { return view_.n_in; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const;
  };
  std::unique_ptr<std::byte[], Free> bytes_;
  PackedView view_;
};

struct Linear {
  PackedMatrix weight;
  std::vector<float> bias;  // empty: none
};

// Element `i` of a tensor of F32 or BF16, and `n` of them.
void read_floats(const TensorView& tensor, std::int64_t first, std::int64_t n, float* out);

// Loads one after another and remembers the first error, so that a layer's loading reads as a list.
class Loader {
 public:
  explicit Loader(WeightSource& source) : source_(source) {}

  std::vector<float> vector(const std::string& name, std::int64_t n);
  Linear linear(const std::string& name, std::int64_t n_out, std::int64_t n_in, bool bias);  // name.weight, name.bias
  TensorView tensor(const std::string& name, const std::vector<std::int64_t>& shape);

  bool ok() const { return ok_; }
  const Error& error() const { return error_; }

 private:
  WeightSource& source_;
  bool ok_ = true;
  Error error_;
};

}  // namespace longhaul::model
