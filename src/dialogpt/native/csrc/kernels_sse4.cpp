// SSE4.1, for x86 without AVX2: Celeron, Pentium and Atom of up to 2021, and what is older than 2013.
//
// Products of 8 bits are summed in pairs, in 16 bits, as by AVX2 without AVX-VNNI: see kernels_avx2.cpp.
#include <smmintrin.h>

namespace {
constexpr int kAdded = 0;
}
#include "attention.h"

namespace dialogpt {
namespace {

constexpr int kRows = 2, kBlocks = 1;  // 8 sums, 1 register of weights, 4 of activations, ones, room for products: of 16

struct Sums {
  __m128i part[4];
};
using Step = Sums;
struct Four {
  __m128i x, size;
};

inline Sums start(const int32_t*) { return {}; }
inline Step step(const int8_t* weights) {
  const __m128i* from = reinterpret_cast<const __m128i*>(weights);
  return {{_mm_loadu_si128(from), _mm_loadu_si128(from + 1), _mm_loadu_si128(from + 2), _mm_loadu_si128(from + 3)}};
}
inline Four four(const uint8_t* x) {
  int32_t v;
  std::memcpy(&v, x, 4);
  const __m128i all = _mm_set1_epi32(v);
  return {all, _mm_abs_epi8(all)};
}
inline void add(Sums& sums, const Step& weights, const Four& x) {
  for (int i = 0; i < 4; i++) {
    const __m128i pairs = _mm_maddubs_epi16(x.size, _mm_sign_epi8(weights.part[i], x.x));
    sums.part[i] = _mm_add_epi32(sums.part[i], _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
  }
}
inline Ints finish(const Sums& sums) { return as_ints(sums); }

}  // namespace
}  // namespace dialogpt
#include "multiply.h"

namespace dialogpt {
const Kernels kSse4 = {"sse4", quantise, norm_quantise, multiply, keep, attend, mass, maxima, reaching};
}
