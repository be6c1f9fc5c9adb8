// Attention of one head over the pages of a row, and how keys and values get there. Included after passes.h.
//
// In a page keys stand as (width, 16) and values as (16, stride), so that both products run down the lanes, without a
// sum across them: scores of 16 positions are summed over the dimensions of a head, 16 dimensions of the result over the
// positions. Each of these sums has one order, whatever stands beside it: queries and pages are taken several at a time
// to have several sums under way, which does not change any of them.
#pragma once
#include "passes.h"

namespace dialogpt {
namespace {

void keep(const float* key, const float* value, int width, int stride, int slot, Half* part) {
  Half* values = part + static_cast<int64_t>(width) * kLanes + static_cast<int64_t>(slot) * stride;
  for (int d = 0; d < width; d += kLanes) {
    const int n = width - d < kLanes ? width - d : kLanes;
    float rest[2][kLanes] = {};
    std::memcpy(rest[0], key + d, static_cast<size_t>(n) * sizeof(float));
    std::memcpy(rest[1], value + d, static_cast<size_t>(n) * sizeof(float));
    Half halves[kLanes];
    store_halves(halves, load(rest[0]));
    for (int i = 0; i < n; i++) part[static_cast<int64_t>(d + i) * kLanes + slot] = halves[i];
    store_halves(values + d, load(rest[1]));
  }
}

// Scores of Q queries with the keys of P pages, one after another in `work.pages`.
template <int Q, int P>
inline void score(const Attention& work, int query, int page, int64_t room, const Floats& scale) {
  Floats sums[Q][P];
  for (int q = 0; q < Q; q++)
    for (int p = 0; p < P; p++) sums[q][p] = all(0.0f);
  const float* queries = work.queries + query * work.query_stride;
  const Half* keys[P];
  for (int p = 0; p < P; p++) keys[p] = work.pages[page + p] + work.offset;
  for (int d = 0; d < work.width; d++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      const Floats key = load_halves(keys[p] + d * kLanes);
#pragma GCC unroll 4
      for (int q = 0; q < Q; q++) sums[q][p] = fma(all(queries[q * work.query_stride + d]), key, sums[q][p]);
    }
  for (int q = 0; q < Q; q++)
    for (int p = 0; p < P; p++) store(work.scores + (query + q) * room + (page + p) * kLanes, sums[q][p] * scale);
}

// scores (n) -> e^(score - the largest), with zeros up to whole vectors; returns one over their sum.
inline float soften(float* scores, int n) {
  const Floats none = all(-INFINITY);
  Floats most = none;
  for (int k = 0; k < n; k += kLanes) {
    Floats x = load(scores + k);
    if (n - k < kLanes) x = first(n - k, x, none);
    most = max(x, most);
  }
  const Floats top = all(largest(most));
  Floats total = all(0.0f);
  for (int k = 0; k < n; k += kLanes) {
    Floats x = exp(load(scores + k) - top);
    if (n - k < kLanes) x = first(n - k, x, all(0.0f));
    total = total + x;
    store(scores + k, x);
  }
  return 1.0f / sum(total);
}

// The result's dimensions from d on, 16 * G of them, for Q queries.
template <int Q, int G>
inline void gather(const Attention& work, int query, int d, int64_t room, const float* inverses) {
  Floats sums[Q][G];
  for (int q = 0; q < Q; q++)
    for (int g = 0; g < G; g++) sums[q][g] = all(0.0f);
  const int64_t values = work.offset + static_cast<int64_t>(work.width) * kLanes + d;
  const float* scores = work.scores + query * room;
  const int seen = work.seen + query + Q - 1;  // by the last of them; the others have zeros there
  for (int j = 0; j < seen; j++) {
    const Half* value = work.pages[j / kLanes] + values + (j % kLanes) * work.stride;
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      const Floats x = load_halves(value + g * kLanes);
#pragma GCC unroll 4
      for (int q = 0; q < Q; q++) sums[q][g] = fma(all(scores[q * room + j]), x, sums[q][g]);
    }
  }
  for (int q = 0; q < Q; q++)
    for (int g = 0; g < G; g++) {
      float* out = work.out + (query + q) * work.out_stride + d + g * kLanes;
      const Floats found = sums[q][g] * all(inverses[query + q]);
      const int left = work.width - d - g * kLanes;
      if (left >= kLanes) {
        store(out, found);
      } else {
        float rest[kLanes];
        store(rest, found);
        std::memcpy(out, rest, static_cast<size_t>(left) * sizeof(float));
      }
    }
}

void attend(const Attention& work) {
  const int64_t room = padded(work.seen + work.count);
  const int pages = (work.seen + work.count - 1 + kLanes - 1) / kLanes;
  const Floats scale = all(1.0f / std::sqrt(static_cast<float>(work.width)));
  const bool together = work.count == kQueries;
  for (int page = 0; page < pages;) {
    if (together) {
      score<kQueries, 1>(work, 0, page, room, scale);
      page++;
    } else if (page + 4 <= pages) {
      for (int q = 0; q < work.count; q++) score<1, 4>(work, q, page, room, scale);
      page += 4;
    } else {
      for (int q = 0; q < work.count; q++) score<1, 1>(work, q, page, room, scale);
      page++;
    }
  }
  float inverses[kQueries];
  for (int q = 0; q < work.count; q++) {
    float* scores = work.scores + q * room;
    inverses[q] = soften(scores, work.seen + q);
    const int64_t filled = padded(work.seen + q);  // what follows is of keys that this query does not see
    if (filled < room) std::memset(scores + filled, 0, static_cast<size_t>(room - filled) * sizeof(float));
  }
  for (int d = 0; d < work.stride;) {
    if (together) {
      gather<kQueries, 1>(work, 0, d, room, inverses);
      d += kLanes;
    } else if (d + 4 * kLanes <= work.stride) {
      for (int q = 0; q < work.count; q++) gather<1, 4>(work, q, d, room, inverses);
      d += 4 * kLanes;
    } else {
      for (int q = 0; q < work.count; q++) gather<1, 1>(work, q, d, room, inverses);
      d += kLanes;
    }
  }
}

}  // namespace
}  // namespace dialogpt
