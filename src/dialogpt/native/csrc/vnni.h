// The product's step by AVX-512 VNNI: one instruction adds 64 products, of unsigned activations and signed weights, to 16
// sums. Included before multiply.h, after attention.h.
#pragma once
#include <immintrin.h>

#include "passes.h"

namespace dialogpt {
namespace {

constexpr int kRows = 12, kBlocks = 2;  // 24 sums, 2 registers of weights, 1 of activations: of 32

using Sums = __m512i;
using Step = __m512i;
using Four = __m512i;

inline Sums start(const int32_t* offsets) { return _mm512_loadu_si512(offsets); }
inline Step step(const int8_t* weights) { return _mm512_loadu_si512(weights); }
inline Four four(const uint8_t* x) {
  int32_t v;
  std::memcpy(&v, x, 4);
  return _mm512_set1_epi32(v);
}
inline void add(Sums& sums, Step weights, Four x) { sums = _mm512_dpbusd_epi32(sums, x, weights); }
inline Ints finish(Sums sums) {
  Ints r;
  r.part[0] = (IntPart)sums;
  return r;
}

}  // namespace
}  // namespace dialogpt
