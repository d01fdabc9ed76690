// Sixteen fp32 lanes on any instruction set: one AVX-512 register, two AVX2, four NEON. Included once for each target
// that foreach_target.h compiles, inside the kernel file.
#if defined(LONGHAUL_MODEL_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGHAUL_MODEL_SIMD_INL_H_
#undef LONGHAUL_MODEL_SIMD_INL_H_
#else
#define LONGHAUL_MODEL_SIMD_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

// The emulated target is Highway's baseline on x86-64; nothing is built for it.
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
#define LONGHAUL_NO_SIMD 1
#else
#undef LONGHAUL_NO_SIMD

HWY_BEFORE_NAMESPACE();
namespace longhaul::model {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using DU = hn::RebindToUnsigned<D>;
using V = hn::Vec<D>;
inline constexpr std::size_t kLanes = HWY_LANES(float) < 16 ? HWY_LANES(float) : 16;  // of a register
inline constexpr std::size_t kRegs = 16 / kLanes;

struct F16 {
  V v[kRegs];
};

#define LONGHAUL_INLINE HWY_INLINE
#define LONGHAUL_FOR_REGS LONGHAUL_UNROLL for (std::size_t i = 0; i < kRegs; ++i)

HWY_INLINE F16 operator+(F16 a, F16 b) {
  F16 r;
  LONGHAUL_FOR_REGS r.v[i] = hn::Add(a.v[i], b.v[i]);
  return r;
}
HWY_INLINE F16 operator-(F16 a, F16 b) {
  F16 r;
  LONGHAUL_FOR_REGS r.v[i] = hn::Sub(a.v[i], b.v[i]);
  return r;
}
HWY_INLINE F16 operator*(F16 a, F16 b) {
  F16 r;
  LONGHAUL_FOR_REGS r.v[i] = hn::Mul(a.v[i], b.v[i]);
  return r;
}
HWY_INLINE F16 operator/(F16 a, F16 b) {
  F16 r;
  LONGHAUL_FOR_REGS r.v[i] = hn::Div(a.v[i], b.v[i]);
  return r;
}
HWY_INLINE F16 fma(F16 a, F16 b, F16 c) {
  F16 r;
  LONGHAUL_FOR_REGS r.v[i] = hn::MulAdd(a.v[i], b.v[i], c.v[i]);
  return r;
}
HWY_INLINE F16 less(F16 a, F16 b, F16 x, F16 y) {
  F16 r;
  LONGHAUL_FOR_REGS r.v[i] = hn::IfThenElse(hn::Lt(a.v[i], b.v[i]), x.v[i], y.v[i]);
  return r;
}
template <class F>
HWY_INLINE F set(float value) {
  F r;
  LONGHAUL_FOR_REGS r.v[i] = hn::Set(D(), value);
  return r;
}
HWY_INLINE void pow2_halves(F16 t, F16& a, F16& b) {
  const DI di;
  LONGHAUL_FOR_REGS {
    const auto n = hn::Sub(hn::BitCast(di, t.v[i]), hn::Set(di, 0x4B400000));
    const auto half = hn::ShiftRight<1>(n);
    const auto bias = hn::Set(di, 127);
    a.v[i] = hn::BitCast(D(), hn::ShiftLeft<23>(hn::Add(half, bias)));
    b.v[i] = hn::BitCast(D(), hn::ShiftLeft<23>(hn::Add(hn::Sub(n, half), bias)));
  }
}

HWY_INLINE F16 load16(const float* from) {
  F16 r;
  LONGHAUL_FOR_REGS r.v[i] = hn::LoadU(D(), from + i * kLanes);
  return r;
}
HWY_INLINE F16 load16(const std::uint16_t* bf16) {
  const hn::Rebind<std::uint16_t, D> d16;
  const DU du;
  F16 r;
  LONGHAUL_FOR_REGS {
    const auto wide = hn::PromoteTo(du, hn::LoadU(d16, bf16 + i * kLanes));
    r.v[i] = hn::BitCast(D(), hn::ShiftLeft<16>(wide));
  }
  return r;
}
HWY_INLINE void store16(F16 a, float* to) {
  LONGHAUL_FOR_REGS hn::StoreU(a.v[i], D(), to + i * kLanes);
}

// The tree of scalar::tree_sum: lanes i and i + 8, then + 4, + 2, + 1. Addition is commutative to the bit.
HWY_INLINE float tree_sum(F16 a) {
#if HWY_TARGET == HWY_AVX3
  const hn::Half<D> d8;
  const auto v8 = hn::Add(hn::LowerHalf(d8, a.v[0]), hn::UpperHalf(d8, a.v[0]));
  const hn::Half<hn::Half<D> > d4;
  const auto v4 = hn::Add(hn::LowerHalf(d4, v8), hn::UpperHalf(d4, v8));
#elif HWY_TARGET == HWY_AVX2
  const auto v8 = hn::Add(a.v[0], a.v[1]);
  const hn::Half<D> d4;
  const auto v4 = hn::Add(hn::LowerHalf(d4, v8), hn::UpperHalf(d4, v8));
#else
  static_assert(kRegs == 4, "a target with 128-bit registers");
  const D d4;
  const auto v4 = hn::Add(hn::Add(a.v[0], a.v[2]), hn::Add(a.v[1], a.v[3]));
#endif
  const auto v2 = hn::Add(v4, hn::Shuffle1032(v4));
  const auto v1 = hn::Add(v2, hn::Shuffle2301(v2));
  (void)d4;
  return hn::GetLane(v1);
}

// out[i] = tree_sum(*rows[i]), of four at a time: once a row is down to eight lanes, two rows share a register and each
// step of the tree serves both.
HWY_INLINE void tree_sums(const F16& a, const F16& b, const F16& c, const F16& d, float* out) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
#if HWY_TARGET == HWY_AVX3
  const hn::Half<D> d8;
  const auto a8 = hn::Add(hn::LowerHalf(d8, a.v[0]), hn::UpperHalf(d8, a.v[0]));
  const auto b8 = hn::Add(hn::LowerHalf(d8, b.v[0]), hn::UpperHalf(d8, b.v[0]));
  const auto c8 = hn::Add(hn::LowerHalf(d8, c.v[0]), hn::UpperHalf(d8, c.v[0]));
  const auto e8 = hn::Add(hn::LowerHalf(d8, d.v[0]), hn::UpperHalf(d8, d.v[0]));
#else
  const D d8;
  const auto a8 = hn::Add(a.v[0], a.v[1]), b8 = hn::Add(b.v[0], b.v[1]);
  const auto c8 = hn::Add(c.v[0], c.v[1]), e8 = hn::Add(d.v[0], d.v[1]);
#endif
  const auto ab = hn::Add(hn::ConcatLowerLower(d8, b8, a8), hn::ConcatUpperUpper(d8, b8, a8));  // a: 4, b: 4 lanes
  const auto cd = hn::Add(hn::ConcatLowerLower(d8, e8, c8), hn::ConcatUpperUpper(d8, e8, c8));
  const hn::Repartition<double, decltype(d8)> dd;  // pairs of lanes
  const auto ab2 = hn::BitCast(dd, ab), cd2 = hn::BitCast(dd, cd);
  const auto two = hn::Add(hn::BitCast(d8, hn::InterleaveLower(dd, ab2, cd2)),
                           hn::BitCast(d8, hn::InterleaveUpper(dd, ab2, cd2)));  // a c | b d, 2 lanes each
  const auto one = hn::Add(two, hn::Shuffle2301(two));
  HWY_ALIGN float lanes[8];
  hn::Store(one, d8, lanes);
  out[0] = lanes[0];
  out[1] = lanes[4];
  out[2] = lanes[2];
  out[3] = lanes[6];
#else
  out[0] = tree_sum(a);
  out[1] = tree_sum(b);
  out[2] = tree_sum(c);
  out[3] = tree_sum(d);
#endif
}

#include "model/kernels/math_body.inc"

#undef LONGHAUL_INLINE

}  // namespace HWY_NAMESPACE
}  // namespace longhaul::model
HWY_AFTER_NAMESPACE();
#endif  // target

#endif  // toggle
