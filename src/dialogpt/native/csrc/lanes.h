// Sixteen floats or integers at a time, in as many registers as the instruction set needs for them.
//
// Each kernel file includes this with its own flags. All is in a namespace without a name: functions that the linker
// merged would run one file's instructions in another. A product and a sum are one rounding where there is an FMA
// instruction and two where not (files are compiled without contraction), so that each table of kernels has one result.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels.h"

#if defined(__SSE4_1__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace dialogpt {
namespace {

#if defined(__AVX512F__)
constexpr int kWide = 16;
#elif defined(__AVX2__)
constexpr int kWide = 8;
#else
constexpr int kWide = 4;  // 128 bits: SSE2, NEON
#endif
constexpr int kParts = kLanes / kWide;

typedef float FloatPart __attribute__((vector_size(4 * kWide)));
typedef int32_t IntPart __attribute__((vector_size(4 * kWide)));

struct Floats {
  FloatPart part[kParts];
};
struct Ints {
  IntPart part[kParts];
};

// work(0), work(1) ... each with a number that the compiler knows. Sums in an array that a loop goes over would be memory.
template <int N>
struct Number {
  constexpr operator int() const { return N; }
};
template <int N, class Work>
__attribute__((always_inline)) inline void each(Work&& work) {
  if constexpr (N > 0) {
    each<N - 1>(work);
    work(Number<N - 1>{});
  }
}
#define INLINED __attribute__((always_inline))

#define EACH_PART _Pragma("GCC unroll 4") for (int i = 0; i < kParts; i++)

// Copied part by part: a copy of the whole would go by memory, and GCC in smaller pieces than are read from there next.
inline Floats load(const float* p) {
  Floats r;
  EACH_PART std::memcpy(&r.part[i], p + i * kWide, sizeof r.part[i]);
  return r;
}
inline Ints load(const int32_t* p) {
  Ints r;
  EACH_PART std::memcpy(&r.part[i], p + i * kWide, sizeof r.part[i]);
  return r;
}
// From registers of the same size and order, of whatever type.
template <class Parts>
inline Ints as_ints(const Parts& x) {
  Ints r;
  EACH_PART r.part[i] = (IntPart)x.part[i];
  return r;
}
inline void store(float* p, const Floats& x) { EACH_PART std::memcpy(p + i * kWide, &x.part[i], sizeof x.part[i]); }

// The first n, with zeros for the rest. All of them is the usual case, and copies of a size that the compiler does not know
// are slow.
inline Floats load(const float* p, int n) {
  if (n >= kLanes) return load(p);
  float rest[kLanes] = {};
  std::memcpy(rest, p, static_cast<size_t>(n) * sizeof(float));
  return load(rest);
}
inline void store(float* p, const Floats& x, int n) {
  if (n >= kLanes) return store(p, x);
  float rest[kLanes];
  store(rest, x);
  std::memcpy(p, rest, static_cast<size_t>(n) * sizeof(float));
}

inline Floats all(float x) {
  Floats r;
  EACH_PART r.part[i] = x - FloatPart{};
  return r;
}
inline Ints all(int32_t x) {
  Ints r;
  EACH_PART r.part[i] = x - IntPart{};
  return r;
}

#define BINARY(Type, op)                               \
  inline Type operator op(const Type& a, const Type& b) { \
    Type r;                                            \
    EACH_PART r.part[i] = a.part[i] op b.part[i];      \
    return r;                                          \
  }
BINARY(Floats, +)
BINARY(Floats, -)
BINARY(Floats, *)
BINARY(Floats, /)
BINARY(Ints, +)
BINARY(Ints, -)
BINARY(Ints, *)
BINARY(Ints, &)
BINARY(Ints, |)
#undef BINARY

inline Ints operator<<(const Ints& a, int by) {
  Ints r;
  EACH_PART r.part[i] = a.part[i] << by;
  return r;
}

inline Ints operator>>(const Ints& a, int by) {
  Ints r;
  EACH_PART r.part[i] = a.part[i] >> by;
  return r;
}

inline Ints bits(const Floats& x) { return as_ints(x); }
inline Floats from_bits(const Ints& x) {
  Floats r;
  EACH_PART r.part[i] = (FloatPart)x.part[i];
  return r;
}

// a where it is greater, else b: also where one of them is no number.
inline Floats max(const Floats& a, const Floats& b) {
  Floats r;
  EACH_PART r.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return r;
}
inline Floats min(const Floats& a, const Floats& b) {
  Floats r;
  EACH_PART r.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
  return r;
}
inline Ints max(const Ints& a, const Ints& b) {
  Ints r;
  EACH_PART r.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return r;
}

// x in the first n lanes, `other` in the rest.
inline Floats first(int n, const Floats& x, const Floats& other) {
  alignas(64) static const int32_t kLane[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Ints lane = load(kLane), limit = all(static_cast<int32_t>(n));
  Floats r;
  EACH_PART r.part[i] = lane.part[i] < limit.part[i] ? x.part[i] : other.part[i];
  return r;
}

// A bit for each lane that is not below the other's; what is no number is below nothing.
inline uint32_t not_below(const Floats& x, const Floats& least) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(x.part[0], least.part[0], _CMP_NLT_UQ);
#elif defined(__AVX2__)
  uint32_t r = 0;
  EACH_PART r |= static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.part[i], least.part[i], _CMP_NLT_UQ))) << 8 * i;
  return r;
#elif defined(__aarch64__)
  const uint32x4_t bit = {1, 2, 4, 8};
  uint32_t r = 0;
  EACH_PART r |= vaddvq_u32(vbicq_u32(bit, vcltq_f32((float32x4_t)x.part[i], (float32x4_t)least.part[i]))) << 4 * i;
  return r;
#elif defined(__SSE4_1__)
  uint32_t r = 0;
  EACH_PART r |= static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpnlt_ps(x.part[i], least.part[i]))) << 4 * i;
  return r;
#else
  float a[kLanes], b[kLanes];
  store(a, x);
  store(b, least);
  uint32_t r = 0;
  for (int i = 0; i < kLanes; i++) r |= static_cast<uint32_t>(!(a[i] < b[i])) << i;
  return r;
#endif
}

inline Floats to_floats(const Ints& x) {
  Floats r;
  EACH_PART r.part[i] = __builtin_convertvector(x.part[i], FloatPart);
  return r;
}

inline Floats fma(const Floats& a, const Floats& b, const Floats& c) {  // a * b + c
  Floats r;
#if defined(__AVX512F__)
  r.part[0] = _mm512_fmadd_ps(a.part[0], b.part[0], c.part[0]);
#elif defined(__AVX2__)
  EACH_PART r.part[i] = _mm256_fmadd_ps(a.part[i], b.part[i], c.part[i]);
#elif defined(__aarch64__)
  EACH_PART r.part[i] = (FloatPart)vfmaq_f32((float32x4_t)c.part[i], (float32x4_t)a.part[i], (float32x4_t)b.part[i]);
#else
  EACH_PART r.part[i] = a.part[i] * b.part[i] + c.part[i];
#endif
  return r;
}

// The nearest integers of numbers below 2^22 in size.
inline Ints nearest(const Floats& x) {
  Ints r;
#if defined(__AVX512F__)
  r.part[0] = (IntPart)_mm512_cvtps_epi32(x.part[0]);
#elif defined(__AVX2__)
  EACH_PART r.part[i] = (IntPart)_mm256_cvtps_epi32(x.part[i]);
#elif defined(__aarch64__)
  EACH_PART r.part[i] = (IntPart)vcvtnq_s32_f32((float32x4_t)x.part[i]);
#else
  const Floats shift = all(12582912.0f);  // 1.5 * 2^23: the sum's last bit is worth one
  r = bits(x + shift) - bits(shift);
#endif
  return r;
}

// The low 8 bits of each.
inline void store_bytes(uint8_t* p, const Ints& x) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8((__m512i)x.part[0]));
#elif defined(__AVX2__)
  const __m256i low = _mm256_set1_epi32(255);
  const __m256i two = _mm256_packus_epi32((__m256i)x.part[0] & low, (__m256i)x.part[1] & low);  // 0-3 8-11 4-7 12-15
  const __m256i four = _mm256_permute4x64_epi64(two, 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi16(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1)));
#elif defined(__aarch64__)
  uint16x4_t half[kParts];
  EACH_PART half[i] = vmovn_u32((uint32x4_t)x.part[i]);
  vst1q_u8(p, vcombine_u8(vmovn_u16(vcombine_u16(half[0], half[1])), vmovn_u16(vcombine_u16(half[2], half[3]))));
#elif defined(__SSE4_1__)
  __m128i low[kParts];
  EACH_PART low[i] = _mm_and_si128((__m128i)x.part[i], _mm_set1_epi32(255));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi16(_mm_packus_epi32(low[0], low[1]), _mm_packus_epi32(low[2], low[3])));
#else
  int32_t lane[kLanes];
  std::memcpy(lane, &x, sizeof lane);
  for (int i = 0; i < kLanes; i++) p[i] = static_cast<uint8_t>(lane[i]);
#endif
}

inline Ints load_bytes(const uint8_t* p) {
  Ints r;
#if defined(__AVX512F__)
  r.part[0] = (IntPart)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__AVX2__)
  EACH_PART r.part[i] = (IntPart)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8 * i)));
#elif defined(__aarch64__)
  const uint8x16_t bytes = vld1q_u8(p);
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
  r.part[0] = (IntPart)vmovl_u16(vget_low_u16(low));
  r.part[1] = (IntPart)vmovl_u16(vget_high_u16(low));
  r.part[2] = (IntPart)vmovl_u16(vget_low_u16(high));
  r.part[3] = (IntPart)vmovl_u16(vget_high_u16(high));
#else
  int32_t lane[kLanes];
  for (int i = 0; i < kLanes; i++) lane[i] = p[i];
  r = load(lane);
#endif
  return r;
}

inline float largest(const Floats& x) {
  float lane[kLanes];
  store(lane, x);
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  return lane[0];
}
inline float sum(const Floats& x) {
  float lane[kLanes];
  store(lane, x);
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}

inline Floats load_halves(const Half* p) {
  Floats r;
#if defined(__AVX512F__)
  r.part[0] = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  EACH_PART r.part[i] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8 * i)));
#elif defined(__aarch64__)
  EACH_PART r.part[i] = (FloatPart)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
#else
  int32_t sign[kLanes], rest[kLanes];
  for (int i = 0; i < kLanes; i++) {
    sign[i] = static_cast<int32_t>(static_cast<uint32_t>(p[i] & 0x8000) << 16);
    rest[i] = (p[i] & 0x7fff) << 13;
  }
  const Floats size = from_bits(load(rest)) * all(5.192296858534828e+33f);  // 2^112: the exponents' biases differ
  r = from_bits(bits(size) | load(sign));
#endif
  return r;
}

#if !defined(__AVX2__) && !defined(__aarch64__)
// To the nearest, ties to even; the number is within the range of halves.
inline Half to_half(float x) {
  uint32_t b;
  std::memcpy(&b, &x, 4);
  const uint32_t sign = (b >> 16) & 0x8000, rest = b & 0x7fffffff;
  if (rest > 0x7f800000) return static_cast<Half>(sign | 0x7e00);
  if (rest < 0x38800000) {  // below 2^-14: in steps of 2^-24, which the sum with 0.5 rounds to
    float size;
    std::memcpy(&size, &rest, 4);
    const float shifted = size + 0.5f;
    std::memcpy(&b, &shifted, 4);
    return static_cast<Half>(sign | (b - 0x3f000000));
  }
  return static_cast<Half>(sign | ((rest - 0x38000000 + 0xfff + ((rest >> 13) & 1)) >> 13));
}
#endif

// Numbers beyond the range of halves become its ends.
inline void store_halves(Half* p, const Floats& x) {
  const Floats within = min(all(65504.0f), max(all(-65504.0f), x));
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(within.part[0], _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
  EACH_PART _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8 * i),
                             _mm256_cvtps_ph(within.part[i], _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)
  EACH_PART vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)within.part[i])));
#else
  float lane[kLanes];
  store(lane, within);
  for (int i = 0; i < kLanes; i++) p[i] = to_half(lane[i]);
#endif
}

}  // namespace
}  // namespace dialogpt
