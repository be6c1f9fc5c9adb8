// AVX-512 with VNNI, and products with more than a few rows by AMX: a core's eight tiles of 16 rows of 64 bytes.
//
// One instruction (tdpbusd) takes 64 activations of each of 16 rows and the weights of 64 inputs of a block, which stand in
// a packed file as a tile wants them, and adds 16,384 products to 16 x 16 sums. Four tiles are sums, of two tiles of rows
// and two blocks. Rows come by whole tiles: what stands behind the last one is multiplied too, and left there. Inputs
// beyond a multiple of 64, and the offsets, are added by VNNI, to sums that are exact: the result is that of kAvx512.
namespace {
constexpr int kAdded = 128;
}
#include "attention.h"
#include "vnni.h"

#include "multiply.h"

namespace dialogpt {
namespace {

constexpr int kTileRows = 16, kTileDepth = 64;

// What `ldtilecfg` reads: every tile has 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, unused[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

// A thread's tiles, for one product: whoever else computes in this thread may want them in another shape, and tiles that
// are in use are saved at every switch of threads.
class Tiles {
 public:
  Tiles() {
    static constexpr TileConfig config;
    _tile_loadconfig(&config);
  }
  Tiles(const Tiles&) = delete;
  ~Tiles() { _tile_release(); }
};

// Sums of some rows with one or two blocks: [tile of rows][block][row][output].
struct alignas(64) TileSums {
  int32_t of[2][2][kTileRows][kLanes];
};

inline void fetch_ahead(const int8_t* weights) {
  for (int i = 0; i < kTileDepth * kLanes; i += 64) __builtin_prefetch(weights + kAhead + i);
}

// The first `whole` inputs, a multiple of 64. Tiles are numbered where they stand: 0 to 3 are sums, 4 and 5 rows, 6 and 7
// weights. New weights are not in cache yet.
template <bool kTwoRows, bool kTwoBlocks>
inline void add_tiles(const uint8_t* x, const int8_t* weights, int64_t depth, int64_t whole, bool are_new,
                      TileSums& sums) {
  const uint8_t* lower = x + kTileRows * depth;
  const int8_t* second = weights + kLanes * depth;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < whole; k += kTileDepth) {
    if (are_new) fetch_ahead(weights + k * kLanes);
    _tile_loadd(6, weights + k * kLanes, 64);
    _tile_loadd(4, x + k, depth);
    _tile_dpbusd(0, 4, 6);
    if constexpr (kTwoBlocks) {
      if (are_new) fetch_ahead(second + k * kLanes);
      _tile_loadd(7, second + k * kLanes, 64);
      _tile_dpbusd(1, 4, 7);
    }
    if constexpr (kTwoRows) {
      _tile_loadd(5, lower + k, depth);
      _tile_dpbusd(2, 5, 6);
      if constexpr (kTwoBlocks) _tile_dpbusd(3, 5, 7);
    }
  }
  _tile_stored(0, sums.of[0][0], 64);
  if constexpr (kTwoBlocks) _tile_stored(1, sums.of[0][1], 64);
  if constexpr (kTwoRows) _tile_stored(2, sums.of[1][0], 64);
  if constexpr (kTwoRows && kTwoBlocks) _tile_stored(3, sums.of[1][1], 64);
}

// One row's products with one block, of which `sums` has the first `whole` inputs.
inline void finish_row(const Linear& linear, int64_t block, const int8_t* weights, const uint8_t* x, int64_t whole,
                       const int32_t* sums, float scale, float* out, Then then) {
  Sums total = _mm512_add_epi32(start(linear.offsets + block * kLanes), _mm512_load_si512(sums));
  for (int64_t k = whole; k < linear.depth; k += 4) add(total, step(weights + k * kLanes), four(x + k));
  finish_block(finish(total), linear, block, scale, out, then);
}

// Up to 32 rows with one or two blocks.
template <bool kTwoBlocks>
inline void multiply_tiles(const Linear& linear, int64_t block, const int8_t* weights, int64_t rows, bool are_new,
                           const uint8_t* x, const float* scales, float* out, int64_t out_stride, Then then) {
  const int64_t depth = linear.depth, whole = depth / kTileDepth * kTileDepth;
  TileSums sums;
  if (rows > kTileRows)
    add_tiles<true, kTwoBlocks>(x, weights, depth, whole, are_new, sums);
  else
    add_tiles<false, kTwoBlocks>(x, weights, depth, whole, are_new, sums);
  for (int64_t r = 0; r < rows; r++)
    for (int b = 0; b < 1 + kTwoBlocks; b++)
      finish_row(linear, block + b, weights + b * kLanes * depth, x + r * depth, whole,
                 sums.of[r / kTileRows][b][r % kTileRows], scales[r], out + r * out_stride, then);
}

void multiply_many(const Linear& linear, int64_t first, int64_t last, int64_t rows, const Quantised& x,
                   int8_t* room, float* out, int64_t out_stride, Then then) {
  if (rows <= kFewRows) return multiply(linear, first, last, rows, x, room, out, out_stride, then);
  const Tiles tiles;
  constexpr int64_t kHeight = 2 * kTileRows;
  const int64_t cached = kCached / linear.depth / kHeight * kHeight;
  const int64_t together = cached < kHeight ? kHeight : cached;
  for (int64_t from = 0; from < rows; from += together) {
    const int64_t to = from + together < rows ? from + together : rows;
    for (int64_t block = first; block < last; block += 2) {
      const int8_t* weights = integers_of(linear, block, block + 1 < last ? 2 : 1, room);
      for (int64_t row = from; row < to; row += kHeight) {
        const int64_t height = row + kHeight < to ? kHeight : to - row;
        const bool are_new = row == from && linear.weights;
        const uint8_t* values = x.values + row * linear.depth;
        float* at = out + row * out_stride;
        if (block + 1 < last)
          multiply_tiles<true>(linear, block, weights, height, are_new, values, x.scales + row, at, out_stride, then);
        else
          multiply_tiles<false>(linear, block, weights, height, are_new, values, x.scales + row, at, out_stride, then);
      }
    }
  }
}

}  // namespace

const Kernels kAmx = {"amx", quantise, norm_quantise, multiply_many, keep, attend, mass, maxima, reaching};

}  // namespace dialogpt
