// Weights of a checkpoint -> the places of a packed file, which is zero before, in 8 bits or 4.
#pragma once
#include "layout.h"

namespace dialogpt {

enum class Type { kFloat = 0, kHalf = 1, kBrain = 2 };  // of 4, 2 and 2 bytes

// A matrix in a checkpoint: element (output, input) stands at output * across + input * along.
struct Source {
  const void* data;
  Type type;
  int64_t outputs, inputs, across, along;
};

// One scale an output, the largest weight over 127; `bias` may have no data.
void pack(const Source& weights, const Source& bias, const Linear& linear, int threads);

// rows (outputs, inputs) -> floats, `stride` apart.
void copy(const Source& rows, float* to, int64_t stride);

}  // namespace dialogpt
