// What is asked of logits, so that nobody else has to read a whole vocabulary of them.
#pragma once
#include "kernels.h"

namespace dialogpt {

// Rows of n logits, wherever they are.
struct Logits {
  const float* const* rows;
  int64_t count, n;
};

// sum(exp((x - largest) * factor)) of each row, by its own factor, and its largest.
void masses(const Kernels& kernels, int threads, const Logits& logits, const float* factors, double* found,
            float* largest);

// The k largest of each row, the largest first, of equal ones the lower place first; k is at most n.
void likeliest(const Kernels& kernels, int threads, const Logits& logits, int64_t k, float* values, int64_t* places);

}  // namespace dialogpt
