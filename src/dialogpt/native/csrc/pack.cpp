// Quantising goes block by block of 16 outputs, on all threads. What cannot be a number stays none: the scale of an output
// with such a weight is none either.
#include "pack.h"

#include <algorithm>
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

// The nearest integer of a number below 2^22 in size, in a way of which compilers make vectors.
float rounded(float x) { return (x + 12582912.0f) - 12582912.0f; }

constexpr float kLargest = 120.0f;  // 8 * 15, 10 * 12: on grids, and half a step of 15 more is within 127

// The grids of 16 outputs: integers (place - zero) * step, with places of 0 to 15.
struct Grids {
  float step[kLanes], zero[kLanes], inverse[kLanes];

  void set(int i, float its_step, float its_zero) {
    step[i] = its_step;
    zero[i] = its_zero;
    inverse[i] = 1.0f / its_step;
  }
  // The nearest place, from the zero on.
  float place(int i, float x) const {
    return std::min(15.0f - zero[i], std::max(-zero[i], rounded(x * inverse[i])));
  }
};

// The grids of a group's numbers (inputs, 16): of those that reach nearly from the smallest to the largest number of an
// output, the one with the least sum of squared errors.
Grids choose_grids(const float* x, int64_t inputs) {
  float low[kLanes] = {}, high[kLanes] = {}, least[kLanes];
  for (int64_t k = 0; k < inputs; k++)
    for (int i = 0; i < kLanes; i++) {
      low[i] = std::min(low[i], x[k * kLanes + i]);
      high[i] = std::max(high[i], x[k * kLanes + i]);
    }
  std::fill(least, least + kLanes, INFINITY);
  Grids best{};
  for (float shorter = 0; shorter < 3; shorter++)
    for (float shift = -1; shift <= 1; shift++) {
      Grids tried;
      float error[kLanes] = {};
      for (int i = 0; i < kLanes; i++) {
        const float step = std::ceil((high[i] - low[i]) / 15.0f) - shorter, within = std::min(15.0f, std::max(1.0f, step));
        tried.set(i, within, std::min(15.0f, std::max(0.0f, rounded(-low[i] / within) + shift)));
      }
      for (int64_t k = 0; k < inputs; k++)
        for (int i = 0; i < kLanes; i++) {
          const float off = tried.place(i, x[k * kLanes + i]) * tried.step[i] - x[k * kLanes + i];
          error[i] += off * off;
        }
      for (int i = 0; i < kLanes; i++) {
        if (error[i] >= least[i]) continue;
        least[i] = error[i];
        best.set(i, tried.step[i], tried.zero[i]);
      }
    }
  return best;
}

// A group's numbers (inputs, 16), of the size of integers -> its nibbles and grids; the numbers become those integers.
void pack_group(float* x, int64_t inputs, uint8_t* nibbles, uint8_t* to) {
  const Grids grids = choose_grids(x, inputs);
  for (int i = 0; i < kLanes; i++)
    to[i] = static_cast<uint8_t>(static_cast<int>(grids.step[i]) | static_cast<int>(grids.zero[i]) << 4);
  for (int64_t k = 0; k < inputs; k++)
    for (int i = 0; i < kLanes; i++) {
      float& number = x[k * kLanes + i];
      const float place = grids.place(i, number);
      nibbles[k / 8 * 64 + i * 4 + k % 4] |= static_cast<uint8_t>(static_cast<int>(place + grids.zero[i]) << k % 8 / 4 * 4);
      number = place * grids.step[i];
    }
}

// Floats (depth, 16) -> one scale an output, the largest weight over `integer`, and the same floats over it.
void scale_block(float* x, const Linear& linear, float integer, float* scales) {
  float most[kLanes] = {}, steps[kLanes];
  for (int64_t k = 0; k < linear.depth; k++)
    for (int i = 0; i < kLanes; i++) {
      const float size = std::fabs(x[k * kLanes + i]);
      if (!(size <= most[i]) && !std::isnan(most[i])) most[i] = size;  // what is no number is taken, and stays
    }
  for (int i = 0; i < kLanes; i++) {
    scales[i] = most[i] / integer;
    steps[i] = most[i] > 1e-30f && std::isfinite(most[i]) ? integer / most[i] : 0.0f;
  }
  for (int64_t k = 0; k < linear.depth; k++)
    for (int i = 0; i < kLanes; i++) x[k * kLanes + i] = steps[i] == 0.0f ? 0.0f : x[k * kLanes + i] * steps[i];
}

void pack_block(float* x, const Linear& linear, int64_t block) {
  const int64_t depth = linear.depth;
  scale_block(x, linear, linear.weights ? 127.0f : kLargest, linear.scales + block * kLanes);
  if (linear.weights) {
    int8_t* to = linear.weights + block * kLanes * depth;
    for (int64_t k = 0; k < depth; k++)
      for (int i = 0; i < kLanes; i++) {
        x[k * kLanes + i] = rounded(x[k * kLanes + i]);
        to[k / 4 * 64 + i * 4 + k % 4] = static_cast<int8_t>(x[k * kLanes + i]);
      }
  } else {
    uint8_t* nibbles = linear.nibbles + block * kLanes * depth / 2;
    uint8_t* grids = linear.grids + block * linear.groups() * kLanes;
    for (int64_t k = 0; k < depth; k += kGroup, grids += kLanes)
      pack_group(x + k * kLanes, std::min<int64_t>(kGroup, depth - k), nibbles + k * kLanes / 2, grids);
  }
  int32_t sums[kLanes] = {};
  for (int64_t k = 0; k < depth; k++)
    for (int i = 0; i < kLanes; i++) sums[i] += static_cast<int32_t>(x[k * kLanes + i]);
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
