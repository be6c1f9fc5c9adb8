// ARM, compiled twice: with the instruction for dot products (an option of ARMv8.2; Apple's M1 and Raspberry Pi 5 have
// it), which adds 16 products of signed integers to 4 sums, and without, as any 64-bit ARM is (Raspberry Pi 3 and 4).
//
// Without it, products of 8 bits are summed in pairs, in 16 bits: both factors are within -127..127.
#include <arm_neon.h>

namespace {
constexpr int kAdded = 0;
}
#include "attention.h"

namespace dialogpt {
namespace {

#if defined(__ARM_FEATURE_DOTPROD)
constexpr int kRows = 6, kBlocks = 1;  // 24 sums, 4 registers of weights, 1 of activations: of 32
#else
constexpr int kRows = 4, kBlocks = 1;  // 16 sums, 4 registers of weights, 1 of activations, room for products
#endif

struct Sums {
  int32x4_t part[4];
};
struct Step {
  int8x16_t part[4];
};
using Four = int8x16_t;

inline Sums start(const int32_t*) { return {}; }
inline Step step(const int8_t* weights) {
  return {{vld1q_s8(weights), vld1q_s8(weights + 16), vld1q_s8(weights + 32), vld1q_s8(weights + 48)}};
}
inline Four four(const uint8_t* x) {
  int32_t v;
  std::memcpy(&v, x, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(v));
}
inline void add(Sums& sums, const Step& weights, Four x) {
  for (int i = 0; i < 4; i++) {
#if defined(__ARM_FEATURE_DOTPROD)
    sums.part[i] = vdotq_s32(sums.part[i], weights.part[i], x);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(weights.part[i]), vget_low_s8(x));
    const int16x8_t high = vmull_s8(vget_high_s8(weights.part[i]), vget_high_s8(x));
    sums.part[i] = vpadalq_s16(sums.part[i], vpaddq_s16(low, high));
#endif
  }
}
inline Ints finish(const Sums& sums) { return as_ints(sums); }

}  // namespace
}  // namespace dialogpt
#include "multiply.h"

namespace dialogpt {
#if defined(__ARM_FEATURE_DOTPROD)
const Kernels kNeon = {"neon", quantise, norm_quantise, multiply, keep, attend, mass, maxima, reaching};
#else
const Kernels kArmv8 = {"armv8", quantise, norm_quantise, multiply, keep, attend, mass, maxima, reaching};
#endif
}
