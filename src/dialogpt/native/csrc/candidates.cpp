// Of each 64 logits the largest is found first. The k-th largest of those is a bound that the k largest logits reach, and
// mostly few others do: only blocks that reach it are looked into.
#include "candidates.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "pool.h"

namespace dialogpt {
namespace {

constexpr int64_t kGroup = 64;  // as `maxima` has it

// A logit and its place as one number; the order of the result is theirs: the largest first, then the lower place. What is
// no number comes before all, or sorting would have no order.
uint64_t key_of(float value, int64_t place) {
  const float one_zero = value + 0.0f;  // the negative one is as large
  uint32_t bits;
  std::memcpy(&bits, &one_zero, 4);
  const uint32_t ascending = bits & 0x80000000 ? ~bits : bits | 0x80000000;
  return (std::isnan(value) ? 0 : uint64_t{~ascending} << 32) | static_cast<uint64_t>(place);
}

void likeliest_of(const Kernels& kernels, const float* x, int64_t n, int64_t k, float* values, int64_t* places) {
  const int64_t groups = (n + kGroup - 1) / kGroup;
  std::vector<float> largest(groups), sorted;
  kernels.maxima(x, n, largest.data());
  float bound = -INFINITY;
  if (k <= groups && std::none_of(largest.begin(), largest.end(), [](float v) { return std::isnan(v); })) {
    sorted = largest;
    std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<float>());
    bound = sorted[k - 1];
  }
  std::vector<uint64_t> found;
  found.reserve(4 * k);
  for (int64_t g = 0; g < groups; g++) {
    if (largest[g] < bound) continue;
    const int64_t from = g * kGroup;
    int32_t at[kGroup];
    const int count = kernels.reaching(x + from, static_cast<int>(std::min(n - from, kGroup)), bound, at);
    for (int i = 0; i < count; i++) found.push_back(key_of(x[from + at[i]], from + at[i]));
  }
  std::nth_element(found.begin(), found.begin() + (k - 1), found.end());
  std::sort(found.begin(), found.begin() + k);
  for (int64_t i = 0; i < k; i++) {
    places[i] = static_cast<int64_t>(found[i] & 0xffffffff);
    values[i] = x[places[i]];
  }
}

// A single row is no work to wake others for.
template <class One>
void each_row(int threads, int64_t rows, One one) {
  if (rows == 1) return one(0);
  Pool::of_process().run(threads, [&](Crew& crew) {
    crew.share(rows, 1, [&](int64_t first, int64_t) { one(first); });
  });
}

}  // namespace

void masses(const Kernels& kernels, int threads, const Logits& logits, const float* factors, double* found,
            float* largest) {
  each_row(threads, logits.count, [&](int64_t row) {
    found[row] = kernels.mass(logits.rows[row], logits.n, factors[row], largest + row);
  });
}

void likeliest(const Kernels& kernels, int threads, const Logits& logits, int64_t k, float* values, int64_t* places) {
  each_row(threads, logits.count, [&](int64_t row) {
    likeliest_of(kernels, logits.rows[row], logits.n, k, values + row * k, places + row * k);
  });
}

}  // namespace dialogpt
