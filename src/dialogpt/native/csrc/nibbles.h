// Weights of 4 bits -> the integers of 8 bits that products take (see layout.h). Included after passes.h.
//
// A multiplication of 16-bit words takes both of their bytes at once: of a nibble and a step, at most 225, nothing is
// carried from one byte into the other.
#pragma once
#include "passes.h"

namespace dialogpt {
namespace {

typedef uint8_t BytePart __attribute__((vector_size(4 * kWide)));
typedef uint16_t WordPart __attribute__((vector_size(4 * kWide)));

// 4 inputs of each of 16 outputs, as a step of a product takes them.
struct Bytes {
  BytePart part[kParts];
};

// The grids of 16 outputs: an output's step in both words of its lane, and its zero times the step in all four bytes.
struct Grids {
  WordPart step[kParts];
  BytePart zero[kParts];
};

inline Grids load_grids(const uint8_t* p) {
  const Ints both = load_bytes(p);
  Grids r;
  EACH_PART {
    const IntPart step = both.part[i] & 15, zero = both.part[i] >> 4;
    r.step[i] = (WordPart)(step | step << 16);
    r.zero[i] = (BytePart)((WordPart)(zero | zero << 8 | zero << 16 | zero << 24) * r.step[i]);
  }
  return r;
}

// The low halves of 64 bytes, or the high ones.
inline Bytes halves(const uint8_t* nibbles, bool high) {
  Bytes r;
  EACH_PART {
    WordPart words;
    std::memcpy(&words, nibbles + 4 * kWide * i, sizeof words);
    r.part[i] = (BytePart)((high ? words >> 4 : words) & 0x0f0f);
  }
  return r;
}

// The integers of the low halves of 64 bytes, or of the high ones.
inline Bytes integers(const uint8_t* nibbles, bool high, const Grids& grids) {
  Bytes r = halves(nibbles, high);
  EACH_PART r.part[i] = (BytePart)((WordPart)r.part[i] * grids.step[i]) - grids.zero[i];
  return r;
}

// Some blocks' integers, as weights of 8 bits stand.
void unpack(const Linear& linear, int64_t block, int64_t blocks, int8_t* to) {
  const uint8_t* nibbles = linear.nibbles + block * kLanes * linear.depth / 2;
  for (int64_t b = block; b < block + blocks; b++)
    for (int64_t group = 0; group < linear.groups(); group++) {
      const Grids grids = load_grids(linear.grids + (b * linear.groups() + group) * kLanes);
      const int64_t left = linear.depth - group * kGroup, inputs = left < kGroup ? left : kGroup;
      for (int64_t k = 0; k < inputs; k += 8, nibbles += 64, to += 128) {
        __builtin_prefetch(nibbles + 2048);
        const Bytes low = integers(nibbles, false, grids), high = integers(nibbles, true, grids);
        EACH_PART std::memcpy(to + 4 * kWide * i, &low.part[i], 4 * kWide);
        EACH_PART std::memcpy(to + 64 + 4 * kWide * i, &high.part[i], 4 * kWide);
      }
    }
}

}  // namespace
}  // namespace dialogpt
