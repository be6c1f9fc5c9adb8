// AMX's tiles in plain C++, for processors without: included before all else, it takes the intrinsics' names.
//
// Each thread has its own tiles, which want to be configured; what a processor faults at ends the process. With WRONG_TILES in
// the environment the last row's products are lost, as if the processor were damaged.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace emulated {
namespace {

struct Config {
  uint8_t palette, start_row, unused[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

struct Tile {
  uint8_t row[16][64];
};

thread_local Config config;
thread_local Tile tiles[8];

inline void fault_unless(bool well) {
  if (!well) std::abort();
}

inline void load_config(const void* from) {
  std::memcpy(&config, from, sizeof config);
  fault_unless(config.palette == 1 && config.start_row == 0);
  for (const uint8_t byte : config.unused) fault_unless(byte == 0);
  for (int i = 0; i < 16; i++)
    fault_unless(i < 8 ? config.row_bytes[i] <= 64 && config.rows[i] <= 16 : !config.row_bytes[i] && !config.rows[i]);
  std::memset(tiles, 0, sizeof tiles);
}

inline void release() { config = Config{}; }

inline void zero(int tile) {
  fault_unless(config.rows[tile] && config.row_bytes[tile]);
  tiles[tile] = Tile{};
}

inline void load(int tile, const void* from, int64_t stride) {
  zero(tile);
  for (int r = 0; r < config.rows[tile]; r++)
    std::memcpy(tiles[tile].row[r], static_cast<const uint8_t*>(from) + r * stride, config.row_bytes[tile]);
}

inline void store(int tile, void* to, int64_t stride) {
  fault_unless(config.rows[tile] && config.row_bytes[tile]);
  for (int r = 0; r < config.rows[tile]; r++)
    std::memcpy(static_cast<uint8_t*>(to) + r * stride, tiles[tile].row[r], config.row_bytes[tile]);
}

// sums[r][n] += the products of 4 unsigned bytes of a's row r and 4 signed ones of b's row k, for each k
inline void multiply(int sums, int a, int b) {
  fault_unless(sums != a && sums != b && a != b && config.rows[sums] && config.rows[a] && config.rows[b]);
  fault_unless(config.rows[a] == config.rows[sums] && config.row_bytes[b] == config.row_bytes[sums]);
  fault_unless(config.row_bytes[a] == 4 * config.rows[b] && config.row_bytes[b] % 4 == 0);
  const int rows = config.rows[sums] - (std::getenv("WRONG_TILES") != nullptr);
  for (int r = 0; r < rows; r++)
    for (int n = 0; n < config.row_bytes[b] / 4; n++) {
      int32_t sum;
      std::memcpy(&sum, tiles[sums].row[r] + 4 * n, 4);
      for (int k = 0; k < config.row_bytes[a]; k++)
        sum += tiles[a].row[r][k] * static_cast<int8_t>(tiles[b].row[k / 4][4 * n + k % 4]);
      std::memcpy(tiles[sums].row[r] + 4 * n, &sum, 4);
    }
}

}  // namespace
}  // namespace emulated

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbusd
#define _tile_loadconfig emulated::load_config
#define _tile_release emulated::release
#define _tile_loadd emulated::load
#define _tile_stored emulated::store
#define _tile_zero emulated::zero
#define _tile_dpbusd emulated::multiply
