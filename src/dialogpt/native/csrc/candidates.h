// What is asked of logits, so that nobody else has to read a whole vocabulary of them.
#pragma once
#include "kernels.h"

namespace dialogpt {

// Rows of n logits, `stride` floats apart.
struct Logits {
  const float* values;
  int64_t rows, n, stride;
};

// log(sum(exp(x * factor))) of each row.
void logsumexp(const Kernels& kernels, int threads, const Logits& logits, float factor, float* found);

// The k largest of each row, the largest first, of equal ones the lower place first; k is at most n.
void likeliest(const Kernels& kernels, int threads, const Logits& logits, int64_t k, float* values, int32_t* places);

}  // namespace dialogpt
