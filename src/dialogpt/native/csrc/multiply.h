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
// weights come from memory while they use those in cache. Weights of 4 bits become integers of 8 in registers where
// few rows take them, and in a room in cache where many do.
#pragma once
#include "nibbles.h"

namespace dialogpt {
namespace {

constexpr int kAhead = 2048;             // bytes from weights in use to those that are asked for
static_assert(kBlocks <= kRoomBlocks);
constexpr int64_t kCached = 256 * 1024;  // bytes of activations that are gone over together: a part of a core's cache

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

// Weights of some blocks as a tile takes them, a step after another: as they stand, or made from nibbles.
struct AsTheyStand {
  const int8_t* at;
  int64_t apart;

  Step take(int block, int s) const { return step(at + block * apart + 64 * s); }
  void next(int steps) { at += 64 * steps; }
};

struct FromNibbles {
  const uint8_t *nibbles, *grids;
  int64_t nibbles_apart, grids_apart;
  int64_t input;

  Step take(int block, int s) const {
    const uint8_t* grid = grids + block * grids_apart + input / kGroup * kLanes;
    const Bytes made = integers(nibbles + block * nibbles_apart + s / 2 * 64, s % 2, load_grids(grid));
    return step(reinterpret_cast<const int8_t*>(&made));
  }
  void next(int steps) {
    nibbles += 32 * steps;
    input += 4 * steps;
  }
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
template <int R, int B, int S, class Source>
inline void tile(const Linear& linear, int64_t block, Source weights, const uint8_t* x, const float* scales, Ahead ahead,
                 float* out, int64_t out_stride, Then then) {
  Sums sums[R][B][S];
  each<B>([&](auto b) INLINED {
    const Sums first = start(linear.offsets + (block + b) * kLanes);
    each<R>([&](auto r) INLINED { each<S>([&](auto s) INLINED { sums[r][b][s] = s == 0 ? first : Sums{}; }); });
  });
  const int64_t depth = linear.depth;
  const char* asked = static_cast<const char*>(ahead.from);
  for (int64_t k = 0; k < depth; k += 4 * S, weights.next(S), x += 4 * S, asked += S * ahead.step) {
    each<S>([&](auto s) INLINED {
      Step steps[B];
      each<B>([&](auto b) INLINED {
        __builtin_prefetch(asked + b * ahead.apart + s * ahead.step);
        steps[b] = weights.take(b, s);
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

// A tile of `rows` rows, at most R; without `integers` it makes them from nibbles, in 4 parts.
template <int R, int B>
inline void tile_of(int64_t rows, const Linear& linear, int64_t block, const int8_t* integers, const uint8_t* x,
                    const float* scales, Ahead ahead, float* out, int64_t out_stride, Then then) {
  if constexpr (R > 1)
    if (rows < R) return tile_of<R - 1, B>(rows, linear, block, integers, x, scales, ahead, out, out_stride, then);
  constexpr int kParts = in_parts(R, B);
  const int64_t apart = kLanes * linear.depth;
  if constexpr (kParts == 4)
    if (!integers) {
      const FromNibbles weights{linear.nibbles + block * apart / 2, linear.grids + block * linear.groups() * kLanes,
                                apart / 2, linear.groups() * kLanes, 0};
      return tile<R, B, kParts>(linear, block, weights, x, scales, ahead, out, out_stride, then);
    }
  tile<R, B, kParts>(linear, block, AsTheyStand{integers, apart}, x, scales, ahead, out, out_stride, then);
}

// What tile t of `tiles` asks for. The first blocks' first tile has its own weights come, unless they are in cache as
// integers, and so does a tile alone; the others have each a part of the next blocks come: memory is read while there is
// work with what is in cache.
inline Ahead ahead_of(const Linear& linear, int64_t first, int64_t block, int64_t last, int64_t t, int64_t tiles,
                      bool in_cache) {
  const int64_t step = linear.weights ? 64 : 32, apart = step * linear.depth / 4, begun = block == first && !in_cache;
  const void* stored = linear.weights ? static_cast<const void*>(linear.weights) : linear.nibbles;
  const char* weights = static_cast<const char*>(stored) + block * apart;
  const bool own = !in_cache && (tiles == 1 || t < begun);
  if (own || block + 2 * kBlocks > last) return {weights + kAhead, step, apart};
  const int64_t part = step / (tiles - begun);
  return {weights + kBlocks * apart + (t - begun) * part * linear.depth / 4, part, apart};
}

void multiply(const Linear& linear, int64_t first, int64_t last, int64_t rows, const Quantised& x, int8_t* room,
              float* out, int64_t out_stride, Then then) {
  int64_t together = kCached / linear.depth;
  together = together < kRows ? kRows : together;
  for (int64_t from = 0; from < rows; from += together) {
    const int64_t to = from + together < rows ? from + together : rows;
    const int64_t tiles = (to - from + kRows - 1) / kRows;  // of heights as like as can be
    for (int64_t block = first; block < last;) {
      const int blocks = block + kBlocks <= last ? kBlocks : 1;
      const bool made = linear.nibbles && in_parts(to - from, blocks) != 4;  // integers in the room
      const int8_t* weights = linear.nibbles && !made ? nullptr : integers_of(linear, block, blocks, room);
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t row = from + (to - from) * t / tiles, next = from + (to - from) * (t + 1) / tiles;
        const uint8_t* values = x.values + row * linear.depth;
        float* at = out + row * out_stride;
        const Ahead ahead = ahead_of(linear, first, block, last, t, tiles, made);
        if (blocks == kBlocks)
          tile_of<kRows, kBlocks>(next - row, linear, block, weights, values, x.scales + row, ahead, at, out_stride, then);
        else
          tile_of<kRows, 1>(next - row, linear, block, weights, values, x.scales + row, ahead, at, out_stride, then);
      }
      block += blocks;
    }
  }
}

}  // namespace
}  // namespace dialogpt
