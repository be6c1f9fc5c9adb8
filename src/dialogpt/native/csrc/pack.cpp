// Quantising goes block by block of 16 outputs, on all threads. What cannot be a number stays none: the scale of an output
// with such a weight is none either.
#include "pack.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "pool.h"

namespace dialogpt {
namespace {

float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

float from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, rest = half & 0x7fff;
  if (rest >= 0x7c00) return from_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  const float size = from_bits(rest << 13) * 5.192296858534828e+33f;  // 2^112
  return sign ? -size : size;
}

float element(const Source& from, int64_t output, int64_t input) {
  const int64_t place = output * from.across + input * from.along;
  if (from.type == Type::kFloat) {
    float x;
    std::memcpy(&x, static_cast<const char*>(from.data) + 4 * place, 4);
    return x;
  }
  uint16_t half;
  std::memcpy(&half, static_cast<const char*>(from.data) + 2 * place, 2);
  return from.type == Type::kHalf ? from_half(half) : from_bits(static_cast<uint32_t>(half) << 16);
}

// One block's weights as floats, (depth, 16): read in the order in which they stand in memory.
void fetch(const Source& from, int64_t block, int64_t depth, float* to) {
  std::memset(to, 0, static_cast<size_t>(depth) * kLanes * sizeof(float));
  const int64_t first = block * kLanes;
  const int64_t n = from.outputs - first < kLanes ? from.outputs - first : kLanes;
  if (from.across == 1) {
    for (int64_t k = 0; k < from.inputs; k++)
      for (int64_t i = 0; i < n; i++) to[k * kLanes + i] = element(from, first + i, k);
  } else {
    for (int64_t i = 0; i < n; i++)
      for (int64_t k = 0; k < from.inputs; k++) to[k * kLanes + i] = element(from, first + i, k);
  }
}

void pack_block(const float* from, const Linear& linear, int64_t block) {
  float most[kLanes] = {}, steps[kLanes];
  for (int64_t k = 0; k < linear.depth; k++)
    for (int i = 0; i < kLanes; i++) {
      const float size = std::fabs(from[k * kLanes + i]);
      if (!(size <= most[i]) && !std::isnan(most[i])) most[i] = size;  // what is no number is taken, and stays
    }
  for (int i = 0; i < kLanes; i++) {
    linear.scales[block * kLanes + i] = most[i] / 127.0f;
    steps[i] = most[i] > 1e-30f && std::isfinite(most[i]) ? 127.0f / most[i] : 0.0f;
  }
  int8_t* to = linear.weights + block * kLanes * linear.depth;
  int32_t sums[kLanes] = {};
  for (int64_t k = 0; k < linear.depth; k++)
    for (int i = 0; i < kLanes; i++) {
      const float scaled = steps[i] == 0.0f ? 0.0f : from[k * kLanes + i] * steps[i];
      const int32_t whole = static_cast<int32_t>(std::nearbyint(scaled));
      to[k / 4 * 64 + i * 4 + k % 4] = static_cast<int8_t>(whole);
      sums[i] += whole;
    }
  for (int i = 0; i < kLanes; i++) linear.offsets[block * kLanes + i] = -128 * sums[i];
}

}  // namespace

void pack(const Source& weights, const Source& bias, const Linear& linear, int threads) {
  std::vector<std::vector<float>> rooms(threads, std::vector<float>(linear.depth * kLanes));
  Pool::of_process().run(threads, [&](Crew& crew) {
    float* room = rooms[crew.number()].data();
    crew.share(linear.blocks, crew.grain(linear.blocks), [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; block++) {
        fetch(weights, block, linear.depth, room);
        pack_block(room, linear, block);
      }
    });
  });
  if (bias.data) copy(bias, linear.bias, linear.blocks * kLanes);
}

void copy(const Source& rows, float* to, int64_t stride) {
  for (int64_t row = 0; row < rows.outputs; row++)
    for (int64_t k = 0; k < rows.inputs; k++) to[row * stride + k] = element(rows, row, k);
}

}  // namespace dialogpt
