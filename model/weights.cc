#include "model/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <new>

#include "model/kernels/scalar_math.h"
#include "runtime/base/check.h"

namespace longhaul::model {
namespace {

constexpr std::align_val_t kAlignment{64};

template <class T>
void pack_panels(const TensorView& tensor, std::int64_t n_out, std::int64_t n_in, std::byte* to) {
  for (std::int64_t panel = 0; panel * kPanel < n_out; ++panel) {
    for (std::int64_t j = 0; j < kPanel; ++j) {
      const std::int64_t o = panel * kPanel + j;
      std::byte* column = to + (panel * n_in * kPanel + j) * static_cast<std::int64_t>(sizeof(T));
      for (std::int64_t k = 0; k < n_in; ++k, column += kPanel * sizeof(T)) {
        if (o < n_out) {
          std::memcpy(column, tensor.bytes.data() + (o * n_in + k) * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
        } else {
          std::memset(column, 0, sizeof(T));
        }
      }
    }
  }
}

}  // namespace

Result<TensorView> CheckpointWeights::get(std::string_view name, const std::vector<std::int64_t>& shape) {
  const TensorView* tensor = checkpoint_.find(name);
  if (tensor == nullptr) return corruption(fmt::format("{}: tensor {} is missing", checkpoint_.folder(), name));
  if (tensor->shape != shape) {
    return corruption(fmt::format("{}: tensor {} has shape [{}], the config asks for [{}]", checkpoint_.folder(), name,
                                  fmt::join(tensor->shape, ", "), fmt::join(shape, ", ")));
  }
  if (tensor->dtype != DType::kF32 && tensor->dtype != DType::kBf16) {
    return unsupported(fmt::format("{}: tensor {} is {}; the CPU engine computes with F32 and BF16",
                                   checkpoint_.folder(), name, to_string(tensor->dtype)));
  }
  const auto bytes = static_cast<std::size_t>(tensor->n_elements()) * element_bytes(tensor->dtype);
  if (tensor->bytes.size() != bytes) {
    return corruption(fmt::format("{}: tensor {} has {} bytes of data, its shape needs {}", checkpoint_.folder(), name,
                                  tensor->bytes.size(), bytes));
  }
  return *tensor;
}

void PackedMatrix::Free::operator()(std::byte* bytes) const {
  ::operator delete[](bytes, kAlignment);
}

Result<PackedMatrix> PackedMatrix::pack(const TensorView& tensor) {
  LONGHAUL_CHECK(tensor.shape.size() == 2, "a matrix has two dimensions");
  PackedMatrix matrix;
  matrix.view_ = {.n_out = tensor.shape[0], .n_in = tensor.shape[1], .bf16 = tensor.dtype == DType::kBf16};
  const auto bytes = static_cast<std::size_t>(matrix.view_.n_panels() * matrix.view_.panel_bytes());
  matrix.bytes_.reset(static_cast<std::byte*>(::operator new[](bytes, kAlignment, std::nothrow)));
  if (matrix.bytes_ == nullptr) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("no memory for tensor {}: {} bytes", tensor.name, bytes));
  }
  if (matrix.view_.bf16) {
    pack_panels<std::uint16_t>(tensor, matrix.n_out(), matrix.n_in(), matrix.bytes_.get());
  } else {
    pack_panels<float>(tensor, matrix.n_out(), matrix.n_in(), matrix.bytes_.get());
  }
  matrix.view_.data = matrix.bytes_.get();
  return matrix;
}

void read_floats(const TensorView& tensor, std::int64_t first, std::int64_t n, float* out) {
  if (tensor.dtype == DType::kF32) {
    std::memcpy(out, tensor.bytes.data() + first * 4, static_cast<std::size_t>(n) * 4);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, tensor.bytes.data() + (first + i) * 2, 2);
    out[i] = from_bf16(bits);
  }
}

TensorView Loader::tensor(const std::string& name, const std::vector<std::int64_t>& shape) {
  if (!ok_) return {};
  auto found = source_.get(name, shape);
  if (found) return *found;
  ok_ = false;
  error_ = found.error();
  return {};
}

std::vector<float> Loader::vector(const std::string& name, std::int64_t n) {
  const TensorView view = tensor(name, {n});
  std::vector<float> values;
  if (!ok_) return values;
  values.resize(static_cast<std::size_t>(n));
  read_floats(view, 0, n, values.data());
  return values;
}

Linear Loader::linear(const std::string& name, std::int64_t n_out, std::int64_t n_in, bool bias) {
  Linear linear;
  const TensorView view = tensor(name + ".weight", {n_out, n_in});
  if (!ok_) return linear;
  auto packed = PackedMatrix::pack(view);
  if (!packed) {
    ok_ = false;
    error_ = packed.error();
    return linear;
  }
  linear.weight = std::move(*packed);
  if (bias) linear.bias = vector(name + ".bias", n_out);
  return linear;
}

}  // namespace longhaul::model
