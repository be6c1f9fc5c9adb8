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
// weights come from memory while they use those in cache. Weights of 4 bits are multiplied as they stand where few rows
// take them, and become integers of 8 in a room in cache where many do.
#pragma once
#include "nibbles.h"

namespace dialogpt {
namespace {

constexpr int kAhead = 2048;             // bytes from weights in use to those that are asked for
constexpr int kNibblesAhead = 4096;      // the same of weights of 4 bits
constexpr int kGroupBytes = kGroup * kLanes / 2;  // of a block's nibbles
constexpr int64_t kCached = 256 * 1024;  // bytes of activations that are gone over together: a part of a core's cache
constexpr int kFew = kRows * kBlocks / 4 > 1 ? kRows * kBlocks / 4 : 1;  // rows that take nibbles as they stand
static_assert(kBlocks <= kRoomBlocks);

inline void finish_block(const Ints& sums, const Linear& linear, int64_t block, float scale, float* out, Then then) {
  const int64_t n = block * kLanes;
  Floats y = fma(to_floats(sums), all(scale) * load(linear.scales + n), load(linear.bias + n));
  if (then == Then::kGelu) y = gelu(y);
  if (then == Then::kAdd) y = y + load(out + n);
  store(out + n, y);
}

// Weights that are asked for meanwhile: at each step so many bytes on, in the present blocks or those that come next,
// which are so many bytes apart.
struct Ahead {
  const void* from;
  int64_t step, apart;
};

// In how many parts a tile takes its inputs: few rows leave registers for several sums of each.
constexpr int in_parts(int64_t rows, int blocks) {
  return rows * blocks <= kRows * kBlocks / 4 ? 4 : rows * blocks <= kRows * kBlocks / 2 ? 2 : 1;
}

// Some blocks' weights as integers of 8 bits: where they stand, or made from nibbles in `room`.
inline const int8_t* integers_of(const Linear& linear, int64_t block, int blocks, int8_t* room) {
  if (linear.weights) return linear.weights + block * kLanes * linear.depth;
  unpack(linear, block, blocks, room);
  return room;
}

// R rows with B blocks of outputs, the inputs in S parts.
template <int R, int B, int S>
inline void tile(const Linear& linear, int64_t block, const int8_t* weights, const uint8_t* x, const float* scales,
                 Ahead ahead, float* out, int64_t out_stride, Then then) {
  Sums sums[R][B][S];
  each<B>([&](auto b) INLINED {
    const Sums first = start(linear.offsets + (block + b) * kLanes);
    each<R>([&](auto r) INLINED { each<S>([&](auto s) INLINED { sums[r][b][s] = s == 0 ? first : Sums{}; }); });
  });
  const int64_t depth = linear.depth, apart = kLanes * depth;
  const char* asked = static_cast<const char*>(ahead.from);
  for (int64_t k = 0; k < depth; k += 4 * S, weights += 64 * S, x += 4 * S, asked += S * ahead.step) {
    each<S>([&](auto s) INLINED {
      Step steps[B];
      each<B>([&](auto b) INLINED {
        __builtin_prefetch(asked + b * ahead.apart + s * ahead.step);
        steps[b] = step(weights + b * apart + 64 * s);
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

inline Step places(const uint8_t* nibbles, bool high) {
  const Bytes found = halves(nibbles, high);
  return step(reinterpret_cast<const int8_t*>(&found));
}

// The sums of a row's activations by groups.
inline void total_groups(const uint8_t* x, int64_t depth, int32_t* totals) {
  static const int8_t kOnes[64] = {1, 1, 1, 1};
  for (int64_t k = 0; k < depth; k += kGroup) {
    Sums total{};
    for (int64_t i = k; i < depth && i < k + kGroup; i += 4) add(total, step(kOnes), four(x + i));
    const Ints found = finish(total);
    std::memcpy(totals++, &found, sizeof(int32_t));
  }
}

// R rows with the nibbles of B blocks: over a group, an output's sum is step * (x . nibbles - zero * the sum of x).
// totals: these sums of the rows.
template <int R, int B>
inline void tile_of_nibbles(const Linear& linear, int64_t block, const Quantised& x, const int32_t* totals, float* out,
                            int64_t out_stride, Then then) {
  constexpr int kParts = in_parts(R, B) == 4 ? 2 : 1;
  const int64_t depth = linear.depth, groups = linear.groups(), apart = kLanes * depth / 2;
  const uint8_t *nibbles = linear.nibbles + block * apart, *asked = nibbles + kNibblesAhead;
  const uint8_t *grids = linear.grids + block * groups * kLanes, *values = x.values;
  Ints sums[R][B];
  each<B>([&](auto b) INLINED {
    const Ints first = finish(start(linear.offsets + (block + b) * kLanes));
    each<R>([&](auto r) INLINED { sums[r][b] = first; });
  });
  for (int64_t group = 0; group < groups; group++, grids += kLanes) {
    const int64_t left = depth - group * kGroup, inputs = left < kGroup ? left : kGroup;
    if (group == groups - kNibblesAhead / kGroupBytes) asked += (B - 1) * apart;  // the next blocks begin there
    Sums dots[R][B][kParts] = {};
    for (int64_t k = 0; k < inputs; k += 8, nibbles += 64, asked += 64, values += 8) {
      Step low[B], high[B];
      each<B>([&](auto b) INLINED {
        __builtin_prefetch(asked + b * apart);
        low[b] = places(nibbles + b * apart, false);
        high[b] = places(nibbles + b * apart, true);
      });
      each<R>([&](auto r) INLINED {
        const Four one = four(values + r * depth), other = four(values + r * depth + 4);
        each<B>([&](auto b) INLINED {
          add(dots[r][b][0], low[b], one);
          add(dots[r][b][kParts - 1], high[b], other);
        });
      });
    }
    each<B>([&](auto b) INLINED {
      __builtin_prefetch(grids + (B + b) * groups * kLanes);
      const Ints grid = load_bytes(grids + b * groups * kLanes), step = grid & all(15), zero = grid >> 4;
      each<R>([&](auto r) INLINED {
        Ints dot = finish(dots[r][b][0]);
        if constexpr (kParts == 2) dot = dot + finish(dots[r][b][1]);
        sums[r][b] = sums[r][b] + (dot - zero * all(totals[r * groups + group])) * step;
      });
    });
  }
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++)
      finish_block(sums[r][b], linear, block + b, x.scales[r], out + r * out_stride, then);
}

// Blocks first..last for R rows, which the number `rows` is at the most. One block at a time is one stream from memory,
// which is faster as long as products do not count.
template <int R>
inline void multiply_nibbles(const Linear& linear, int64_t first, int64_t last, int64_t rows, const Quantised& x,
                             const int32_t* totals, float* out, int64_t out_stride, Then then) {
  if constexpr (R > 1)
    if (rows < R) return multiply_nibbles<R - 1>(linear, first, last, rows, x, totals, out, out_stride, then);
  constexpr int B = R * kBlocks <= kFew ? 1 : kBlocks;
  int64_t block = first;
  for (; block + B <= last; block += B) tile_of_nibbles<R, B>(linear, block, x, totals, out, out_stride, then);
  for (; block < last; block++) tile_of_nibbles<R, 1>(linear, block, x, totals, out, out_stride, then);
}

// A tile of `rows` rows, at most R.
template <int R, int B>
inline void tile_of(int64_t rows, const Linear& linear, int64_t block, const int8_t* weights, const uint8_t* x,
                    const float* scales, Ahead ahead, float* out, int64_t out_stride, Then then) {
  if constexpr (R > 1)
    if (rows < R) return tile_of<R - 1, B>(rows, linear, block, weights, x, scales, ahead, out, out_stride, then);
  tile<R, B, in_parts(R, B)>(linear, block, weights, x, scales, ahead, out, out_stride, then);
}

// What tile t of `tiles` asks for. The first blocks' first tile has its own weights come, unless they were made from
// nibbles and are in cache, and so does a tile alone; the others have each a part of the next blocks come: memory is read
// while there is work with what is in cache.
inline Ahead ahead_of(const Linear& linear, int64_t first, int64_t block, int64_t last, int64_t t, int64_t tiles) {
  const bool made = linear.nibbles;
  const int64_t step = made ? 32 : 64, apart = step * linear.depth / 4, begun = block == first && !made;
  const void* stored = made ? static_cast<const void*>(linear.nibbles) : linear.weights;
  const char* weights = static_cast<const char*>(stored) + block * apart;
  const bool own = !made && (tiles == 1 || t < begun);
  if (own || block + 2 * kBlocks > last) return {weights + kAhead, step, apart};
  const int64_t part = step / (tiles - begun);
  return {weights + kBlocks * apart + (t - begun) * part * linear.depth / 4, part, apart};
}

void multiply(const Linear& linear, int64_t first, int64_t last, int64_t rows, const Quantised& x, int8_t* room,
              float* out, int64_t out_stride, Then then) {
  const int64_t depth = linear.depth;
  if (linear.nibbles && rows <= kFew) {
    int32_t* totals = reinterpret_cast<int32_t*>(room);
    for (int64_t r = 0; r < rows; r++) total_groups(x.values + r * depth, depth, totals + r * linear.groups());
    return multiply_nibbles<kFew>(linear, first, last, rows, x, totals, out, out_stride, then);
  }
  int64_t together = kCached / depth;
  together = together < kRows ? kRows : together;
  for (int64_t from = 0; from < rows; from += together) {
    const int64_t to = from + together < rows ? from + together : rows;
    const int64_t tiles = (to - from + kRows - 1) / kRows;  // of heights as like as can be
    for (int64_t block = first; block < last;) {
      const int blocks = block + kBlocks <= last ? kBlocks : 1;
      const int8_t* weights = integers_of(linear, block, blocks, room);
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t row = from + (to - from) * t / tiles, next = from + (to - from) * (t + 1) / tiles;
        const uint8_t* values = x.values + row * depth;
        const float* scales = x.scales + row;
        float* at = out + row * out_stride;
        const Ahead ahead = ahead_of(linear, first, block, last, t, tiles);
        if (blocks == kBlocks)
          tile_of<kRows, kBlocks>(next - row, linear, block, weights, values, scales, ahead, at, out_stride, then);
        else
          tile_of<kRows, 1>(next - row, linear, block, weights, values, scales, ahead, at, out_stride, then);
      }
      block += blocks;
    }
  }
}

}  // namespace
}  // namespace dialogpt
