// The shapes of a model and where its weights lie in a packed file.
//
// A linear layer of N outputs and K inputs is kept as signed 8-bit integers with one scale an output. Outputs are cut
// into blocks of 16, and a block holds, for each 4 inputs in turn, the 4 weights of each of its 16 outputs:
//
//     weights[block][input / 4][output % 16][input % 4]          64 bytes a step, 16 * depth bytes a block
//
// 64 bytes are one register of 16 sums that each take 4 products (vpdpbusd), and a row of a tile of the matrix
// extensions (AMX), so the same bytes serve one row of activations, read once from memory, and many rows, read from
// cache. N is padded to whole blocks and K to `depth`, a multiple of 16, by weights of zero.
//
// A layer of 4 bits keeps, for each 32 inputs of an output, a grid of 16 integers a step apart, and of each weight its
// place on the grid: weight = (nibble - zero) * step * scale. (nibble - zero) * step is again an integer of 8 bits, so that
// products are those of a layer of 8 bits whose integers are made from nibbles on the way. Two steps of 64 bytes stand in
// one: the first 4 inputs in the low halves of its bytes, the next 4 in the high ones.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace dialogpt {

constexpr int kLanes = 16;  // outputs of a block, floats of a vector, positions of a page of the cache
constexpr int kGroup = 32;  // inputs with one grid, of weights of 4 bits

inline int64_t padded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

struct Shape {
  int32_t vocab, ctx, layers, heads, embd;
  float eps;     // of the layer norms
  int32_t bits;  // of the layers' weights, 8 or 4; the output layer's are 8

  int head_width() const { return embd / heads; }
  int64_t width() const { return padded(embd); }       // floats of a row of the residual stream
  int64_t qkv_width() const { return padded(3LL * embd); }
  int64_t inner_width() const { return padded(4LL * embd); }
};

struct Linear {
  int64_t outputs, blocks, depth;
  int8_t* weights;   // of 8 bits: (blocks, depth / 4, 16, 4), else null
  uint8_t* nibbles;  // of 4 bits: (blocks, depth / 8, 16, 4), else null
  uint8_t* grids;    // of 4 bits: (blocks, groups, 16), a grid's step and 16 times its zero
  float* scales;     // (blocks * 16): weight = integer * scale
  float* bias;       // (blocks * 16)
  int32_t* offsets;  // (blocks * 16): -128 * the sum of an output's integers, for kernels that add 128 to activations

  int64_t groups() const { return (depth + kGroup - 1) / kGroup; }
};

struct Norm {
  float *weight, *bias;  // (width), zero beyond embd
};

struct Layer {
  Norm ln_1, ln_2;
  Linear c_attn, attn_proj, c_fc, mlp_proj;
};

struct Weights {
  Shape shape;
  Linear wte;  // the token embedding is the output layer too
  float* wpe;  // (ctx, width)
  std::vector<Layer> layers;
  Norm ln_f;
  size_t bytes;  // of all of it
};

// The places of a model's weights from `base` on, which is aligned to 64 bytes; null asks for `bytes` alone.
Weights place(const Shape& shape, std::byte* base);

}  // namespace dialogpt
