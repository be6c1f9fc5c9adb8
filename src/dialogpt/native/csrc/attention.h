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
    const int n = width - d;
    Half halves[kLanes];
    store_halves(halves, load(key + d, n));
    for (int i = 0; i < kLanes && i < n; i++) part[static_cast<int64_t>(d + i) * kLanes + slot] = halves[i];
    store_halves(values + d, load(value + d, n));
  }
}

// Scores of Q queries with the keys of P pages, one after another in `work.pages`.
template <int Q, int P>
inline void score(const Attention& work, int query, int page, int64_t room, const Floats& scale) {
  Floats sums[Q][P];
  each<Q>([&](auto q) INLINED { each<P>([&](auto p) INLINED { sums[q][p] = all(0.0f); }); });
  const float* queries = work.queries + query * work.query_stride;
  const Half* keys[P];
  each<P>([&](auto p) INLINED { keys[p] = work.pages[page + p] + work.offset; });
  for (int d = 0; d < work.width; d++) {
    Floats key[P];
    each<P>([&](auto p) INLINED { key[p] = load_halves(keys[p] + d * kLanes); });
    each<Q>([&](auto q) INLINED {
      const Floats one = all(queries[q * work.query_stride + d]);
      each<P>([&](auto p) INLINED { sums[q][p] = fma(one, key[p], sums[q][p]); });
    });
  }
  each<Q>([&](auto q) INLINED {
    each<P>([&](auto p) INLINED {
      store(work.scores + (query + q) * room + (page + p) * kLanes, sums[q][p] * scale);
    });
  });
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
  each<Q>([&](auto q) INLINED { each<G>([&](auto g) INLINED { sums[q][g] = all(0.0f); }); });
  const int64_t values = work.offset + static_cast<int64_t>(work.width) * kLanes + d;
  const float* scores = work.scores + query * room;
  const int seen = work.seen + query + Q - 1;  // by the last of them; the others have zeros there
  for (int from = 0; from < seen; from += kLanes, scores += kLanes) {
    const Half* value = work.pages[from / kLanes] + values;
    const int n = seen - from < kLanes ? seen - from : kLanes;
    for (int j = 0; j < n; j++, value += work.stride) {
      Floats x[G];
      each<G>([&](auto g) INLINED { x[g] = load_halves(value + g * kLanes); });
      each<Q>([&](auto q) INLINED {
        const Floats one = all(scores[q * room + j]);
        each<G>([&](auto g) INLINED { sums[q][g] = fma(one, x[g], sums[q][g]); });
      });
    }
  }
  Floats found[Q][G];
  each<Q>([&](auto q) INLINED { each<G>([&](auto g) INLINED { found[q][g] = sums[q][g]; }); });
  for (int q = 0; q < Q; q++)
    for (int g = 0; g < G; g++) {
      float* out = work.out + (query + q) * work.out_stride + d + g * kLanes;
      store(out, found[q][g] * all(inverses[query + q]), work.width - d - g * kLanes);
    }
}

// The pages' scores and the result's dimensions, as many at a time as have their sums in registers.
template <int Q, int P>
inline void scores(const Attention& work, int pages, int64_t room, const Floats& scale) {
  for (int q = 0; q + Q <= work.count; q += Q) {
    int page = 0;
    for (; page + P <= pages; page += P) score<Q, P>(work, q, page, room, scale);
    for (; page < pages; page++) score<Q, 1>(work, q, page, room, scale);
  }
}
template <int Q, int G>
inline void results(const Attention& work, int64_t room, const float* inverses) {
  for (int q = 0; q + Q <= work.count; q += Q) {
    int d = 0;
    for (; d + G * kLanes <= work.stride; d += G * kLanes) gather<Q, G>(work, q, d, room, inverses);
    for (; d < work.stride; d += kLanes) gather<Q, 1>(work, q, d, room, inverses);
  }
}

constexpr int kTogether = kWide == 16 ? 4 : 1;  // pages, or vectors of the result, of four queries

void attend(const Attention& work) {
  const int64_t room = padded(work.seen + work.count);
  const int pages = (work.seen + work.count - 1 + kLanes - 1) / kLanes;
  const Floats scale = all(1.0f / std::sqrt(static_cast<float>(work.width)));
  const bool together = work.count == kQueries;
  if (together)
    scores<kQueries, kTogether>(work, pages, room, scale);
  else
    scores<1, 4>(work, pages, room, scale);
  float inverses[kQueries];
  for (int q = 0; q < work.count; q++) {
    float* scores = work.scores + q * room;
    inverses[q] = soften(scores, work.seen + q);
    for (int64_t k = padded(work.seen + q); k < room; k += kLanes) store(scores + k, all(0.0f));  // not seen by this one
  }
  if (together)
    results<kQueries, kTogether>(work, room, inverses);
  else
    results<1, 4>(work, room, inverses);
}

}  // namespace
}  // namespace dialogpt
