// Of each 64 logits the largest is found first. The k-th largest of those is a bound that the k largest logits reach, and
// mostly few others do: only blocks that reach it are looked into.
#include "candidates.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "pool.h"

namespace dialogpt {
namespace {

constexpr int64_t kGroup = 64;  // as `maxima` has it

struct Candidate {
  float value;
  int32_t place;

  // The order of the result. What is no number comes first, or sorting would have no order.
  bool operator<(const Candidate& other) const {
    const bool none = std::isnan(value), other_none = std::isnan(other.value);
    if (none != other_none) return none;
    return none || value == other.value ? place < other.place : value > other.value;
  }
};

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
  std::vector<Candidate> found;
  for (int64_t g = 0; g < groups; g++) {
    if (largest[g] < bound) continue;
    for (int64_t i = g * kGroup; i < std::min(n, (g + 1) * kGroup); i++)
      if (!(x[i] < bound)) found.push_back({x[i], static_cast<int32_t>(i)});
  }
  std::partial_sort(found.begin(), found.begin() + k, found.end());
  for (int64_t i = 0; i < k; i++) {
    values[i] = found[i].value;
    places[i] = found[i].place;
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
