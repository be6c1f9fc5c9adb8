// AVX-512 with VNNI.
namespace {
constexpr int kAdded = 128;
}
#include "attention.h"
#include "vnni.h"

#include "multiply.h"

namespace dialogpt {
const Kernels kAvx512 = {"avx512", quantise, norm_quantise, multiply, keep, attend, mass, maxima, reaching};
}
