// AVX2, compiled twice: with AVX-VNNI, whose one instruction adds 32 products to 8 sums, and without.
//
// Without it, products of 8 bits are summed in pairs, in 16 bits, which takes one factor without a sign: the activation's
// size, its sign given to the weight. Both are within -127..127, so that a pair's sum is within 16 bits.
#include <immintrin.h>

namespace {
#if defined(__AVXVNNI__)
constexpr int kAdded = 128;
#else
constexpr int kAdded = 0;
#endif
}  // namespace
#include "attention.h"

namespace dialogpt {
namespace {

struct Sums {
  __m256i part[2];
};
using Step = Sums;

inline __m256i in_all(const uint8_t* x) {
  int32_t v;
  std::memcpy(&v, x, 4);
  return _mm256_set1_epi32(v);
}
inline Step step(const int8_t* weights) {
  const __m256i* from = reinterpret_cast<const __m256i*>(weights);
  return {{_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)}};
}
inline Ints finish(const Sums& sums) { return as_ints(sums); }

#if defined(__AVXVNNI__)
constexpr int kRows = 6, kBlocks = 1;  // 12 sums, 2 registers of weights, 1 of activations: of 16

using Four = __m256i;

inline Sums start(const int32_t* offsets) { return step(reinterpret_cast<const int8_t*>(offsets)); }
inline Four four(const uint8_t* x) { return in_all(x); }
inline void add(Sums& sums, const Step& weights, const Four& x) {
  for (int i = 0; i < 2; i++) sums.part[i] = _mm256_dpbusd_avx_epi32(sums.part[i], x, weights.part[i]);
}
#else
constexpr int kRows = 4, kBlocks = 1;  // 8 sums, 2 registers of weights, 2 of activations, ones, room for products

struct Four {
  __m256i x, size;
};

inline Sums start(const int32_t*) { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
inline Four four(const uint8_t* x) {
  const __m256i v = in_all(x);
  return {v, _mm256_abs_epi8(v)};
}
inline void add(Sums& sums, const Step& weights, const Four& x) {
  for (int i = 0; i < 2; i++) {
    const __m256i pairs = _mm256_maddubs_epi16(x.size, _mm256_sign_epi8(weights.part[i], x.x));
    sums.part[i] = _mm256_add_epi32(sums.part[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
}
#endif

}  // namespace
}  // namespace dialogpt
#include "multiply.h"

namespace dialogpt {
#if defined(__AVXVNNI__)
const Kernels kAvxVnni = {"avxvnni", quantise, norm_quantise, multiply, keep, attend, mass, maxima, reaching};
#else
const Kernels kAvx2 = {"avx2", quantise, norm_quantise, multiply, keep, attend, mass, maxima, reaching};
#endif
}  // namespace dialogpt
