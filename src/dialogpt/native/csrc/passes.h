// The passes over a row: to 8 bits, layer norm, gelu, sums of exponents. Included by each kernel file, after lanes.h.
//
// Rows are padded to whole vectors by zeros, and stay so. The kernel file says by kAdded what is added to an activation's
// integer (-127..127) to store it: 128 where the product takes unsigned activations, else 0.
#pragma once
#include <cmath>

#include "lanes.h"

namespace dialogpt {
namespace {

constexpr float kTiny = 1e-30f;  // a row whose largest is below it is all zero

// e^x, to about two units in the last place; x is brought into -87..88, so that the result is a normal number.
INLINED inline Floats exp(Floats x) {
  x = min(all(88.0f), max(all(-87.0f), x));
  const Ints n = nearest(x * all(1.44269504f));
  const Floats whole = to_floats(n);
  Floats r = fma(whole, all(-0.693359375f), x);  // log(2) in two parts
  r = fma(whole, all(2.12194440e-4f), r);
  Floats p = all(1.9875691500e-4f);  // Cephes' expf
  p = fma(p, r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(0.5f));
  p = fma(p * r, r, r + all(1.0f));
  return from_bits(bits(p) + (n << 23));
}

// GPT-2's `gelu_new`: 0.5 x (1 + tanh(u)) = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
INLINED inline Floats gelu(const Floats& x) {
  const Floats cubic = fma(x * x, all(0.044715f), all(1.0f));
  const Floats u = x * cubic * all(-2 * 0.7978845608f);
  return x / (all(1.0f) + exp(u));
}

inline void to_bytes(const float* x, int64_t width, float most, uint8_t* values, float* scale) {
  const bool zero = most < kTiny;  // false of NaN
  *scale = zero ? 0.0f : most / 127.0f;
  const Floats steps = all(zero ? 0.0f : 127.0f / most);
  const Ints added = all(static_cast<int32_t>(kAdded));
  for (int64_t k = 0; k < width; k += kLanes) store_bytes(values + k, nearest(load(x + k) * steps) + added);
}

void quantise(const float* x, int64_t width, uint8_t* values, float* scale) {
  const Ints size = all(0x7fffffff);
  Ints most = all(0);  // sizes as integers: they are in the same order, and what is no number is the largest
  for (int64_t k = 0; k < width; k += kLanes) most = max(most, bits(load(x + k)) & size);
  int32_t lane[kLanes], found = 0;
  std::memcpy(lane, &most, sizeof lane);
  for (int i = 0; i < kLanes; i++) found = lane[i] > found ? lane[i] : found;
  float largest_size;
  std::memcpy(&largest_size, &found, 4);
  to_bytes(x, width, largest_size, values, scale);
}

void norm_quantise(const float* x, const Norm& norm, int64_t embd, float eps, float* room, uint8_t* values,
                   float* scale) {
  const int64_t width = padded(embd);
  Floats total = all(0.0f);
  for (int64_t k = 0; k < width; k += kLanes) total = total + load(x + k);
  const Floats mean = all(sum(total) / static_cast<float>(embd));
  Floats squares = all(0.0f);
  for (int64_t k = 0; k < width; k += kLanes) {
    Floats off = load(x + k) - mean;
    if (embd - k < kLanes) off = first(static_cast<int>(embd - k), off, all(0.0f));
    squares = fma(off, off, squares);
  }
  const Floats inverse = all(1.0f / std::sqrt(sum(squares) / static_cast<float>(embd) + eps));
  for (int64_t k = 0; k < width; k += kLanes)
    store(room + k, fma((load(x + k) - mean) * inverse, load(norm.weight + k), load(norm.bias + k)));
  quantise(room, width, values, scale);
}

// Exponents are of differences from the largest, so that a huge factor is no harm; sums go on in double by the thousand.
double mass(const float* x, int64_t n, float factor, float* largest_of_all) {
  const int64_t whole = n / kLanes * kLanes;
  float rest[kLanes];
  for (int i = 0; i < kLanes; i++) rest[i] = whole + i < n ? x[whole + i] : -INFINITY;
  Floats most = load(rest);
  for (int64_t k = 0; k < whole; k += kLanes) most = max(load(x + k), most);
  *largest_of_all = largest(most);
  const Floats top = all(*largest_of_all), by = all(factor);
  double total = 0;
  for (int64_t from = 0; from < whole; from += 64 * kLanes) {
    const int64_t to = from + 64 * kLanes < whole ? from + 64 * kLanes : whole;
    Floats part = all(0.0f);
    for (int64_t k = from; k < to; k += kLanes) part = part + exp((load(x + k) - top) * by);
    total += static_cast<double>(sum(part));
  }
  if (whole < n) {
    const Floats part = exp((load(rest) - top) * by);
    total += static_cast<double>(sum(first(static_cast<int>(n - whole), part, all(0.0f))));
  }
  return total;
}

void maxima(const float* x, int64_t n, float* found) {
  int64_t k = 0;
  for (; k + 64 <= n; k += 64)
    *found++ = largest(max(max(load(x + k), load(x + k + 16)), max(load(x + k + 32), load(x + k + 48))));
  if (k < n) {
    float most = x[k];
    for (; k < n; k++) most = x[k] > most ? x[k] : most;
    *found = most;
  }
}

int reaching(const float* x, int n, float bound, int32_t* places) {
  const Floats least = all(bound);
  int count = 0, k = 0;
  for (; k + kLanes <= n; k += kLanes)
    for (uint32_t left = not_below(load(x + k), least); left; left &= left - 1) places[count++] = k + __builtin_ctz(left);
  for (; k < n; k++)
    if (!(x[k] < bound)) places[count++] = k;
  return count;
}

}  // namespace
}  // namespace dialogpt
