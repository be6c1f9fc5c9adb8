// The product of 8-bit activations and 8-bit weights. Included after passes.h by a kernel file that has defined
//
//     Sums                          sixteen 32-bit sums
//     Sums start(offsets)           their beginning: the outputs' offsets where kAdded is 128, else zero
//     Step, Step step(weights)      64 bytes of weights: 4 inputs of each of 16 outputs
//     Four, Four four(x)            4 activations of a row, in every lane
//     add(sums, step, four)         4 products more for each sum
//     Ints finish(sums)
//     kRows, kBlocks                the largest tile whose sums stay in registers
//
// Sums are exact: they do not depend on their order, nor a row's on the rows beside it. One row is read with several
// sums under way (parts of its inputs), and its weights are asked for ahead; many rows go by tiles, which have the next
// weights come from memory while they use those in cache.
#pragma once
#include "passes.h"

namespace dialogpt {
namespace {

constexpr int kAhead = 2048;             // bytes from weights in use to those that are asked for
constexpr int64_t kCached = 256 * 1024;  // bytes of activations that are gone over together: a part of a core's cache

inline void finish_block(const Ints& sums, const Linear& linear, int64_t block, float scale, float* out, Then then) {
  const int64_t n = block * kLanes;
  Floats y = fma(to_floats(sums), all(scale) * load(linear.scales + n), load(linear.bias + n));
  if (then == Then::kGelu) y = gelu(y);
  if (then == Then::kAdd) y = y + load(out + n);
  store(out + n, y);
}

// Weights that are asked for meanwhile: at each step so many bytes on, in the present blocks or those that come next.
struct Ahead {
  const int8_t* from;
  int64_t step;
};

// R rows with B blocks of outputs, the inputs in S parts.
template <int R, int B, int S>
inline void tile(const Linear& linear, int64_t block, const uint8_t* x, const float* scales, Ahead ahead, float* out,
                 int64_t out_stride, Then then) {
  Sums sums[R][B][S];
  each<B>([&](auto b) INLINED {
    const Sums first = start(linear.offsets + (block + b) * kLanes);
    each<R>([&](auto r) INLINED { each<S>([&](auto s) INLINED { sums[r][b][s] = s == 0 ? first : Sums{}; }); });
  });
  const int64_t depth = linear.depth;
  const int8_t* weights = linear.weights + block * kLanes * depth;
  for (int64_t k = 0; k < depth; k += 4 * S, weights += 64 * S, x += 4 * S, ahead.from += S * ahead.step) {
    each<S>([&](auto s) INLINED {
      Step steps[B];
      each<B>([&](auto b) INLINED {
        __builtin_prefetch(ahead.from + b * kLanes * depth + s * ahead.step);
        steps[b] = step(weights + b * kLanes * depth + 64 * s);
      });
      each<R>([&](auto r) INLINED {
        const Four here = four(x + r * depth + 4 * s);
        each<B>([&](auto b) INLINED { add(sums[r][b][s], steps[b], here); });
      });
    });
  }
  Ints totals[R][B];
  each<R>([&](auto r) INLINED {
    each<B>([&](auto b) INLINED {
      Ints total = finish(sums[r][b][0]);
      each<S - 1>([&](auto s) INLINED { total = total + finish(sums[r][b][s + 1]); });
      totals[r][b] = total;
    });
  });
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++)
      finish_block(totals[r][b], linear, block + b, scales[r], out + r * out_stride, then);
}

// A tile of `rows` rows, at most R.
template <int R, int B>
inline void tile_of(int64_t rows, const Linear& linear, int64_t block, const uint8_t* x, const float* scales,
                    Ahead ahead, float* out, int64_t out_stride, Then then) {
  if constexpr (R > 1)
    if (rows < R) return tile_of<R - 1, B>(rows, linear, block, x, scales, ahead, out, out_stride, then);
  constexpr int kParts = R * B <= kRows * kBlocks / 4 ? 4 : R * B <= kRows * kBlocks / 2 ? 2 : 1;
  tile<R, B, kParts>(linear, block, x, scales, ahead, out, out_stride, then);
}

// What tile t of `tiles` asks for. The first blocks' first tile has its own weights come, and so does a tile alone; the
// others have each a part of the next blocks come: memory is read while there is work with what is in cache.
inline Ahead ahead_of(const Linear& linear, int64_t first, int64_t block, int64_t last, int64_t t, int64_t tiles) {
  const int64_t bytes = kLanes * linear.depth, begun = block == first;
  const int8_t* weights = linear.weights + block * bytes;
  if (tiles == 1 || t < begun || block + 2 * kBlocks > last) return {weights + kAhead, 64};
  const int64_t step = 64 / (tiles - begun);
  return {weights + kBlocks * bytes + (t - begun) * step * linear.depth / 4, step};
}

void multiply(const Linear& linear, int64_t first, int64_t last, int64_t rows, const Quantised& x, float* out,
              int64_t out_stride, Then then) {
  int64_t together = kCached / linear.depth;
  together = together < kRows ? kRows : together;
  for (int64_t from = 0; from < rows; from += together) {
    const int64_t to = from + together < rows ? from + together : rows;
    const int64_t tiles = (to - from + kRows - 1) / kRows;  // of heights as like as can be
    for (int64_t block = first; block < last;) {
      const bool wide = block + kBlocks <= last;
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t row = from + (to - from) * t / tiles, next = from + (to - from) * (t + 1) / tiles;
        const uint8_t* values = x.values + row * linear.depth;
        float* at = out + row * out_stride;
        const Ahead ahead = ahead_of(linear, first, block, last, t, tiles);
        if (wide)
          tile_of<kRows, kBlocks>(next - row, linear, block, values, x.scales + row, ahead, at, out_stride, then);
        else
          tile_of<kRows, 1>(next - row, linear, block, values, x.scales + row, ahead, at, out_stride, then);
      }
      block += wide ? kBlocks : 1;
    }
  }
}

}  // namespace
}  // namespace dialogpt
