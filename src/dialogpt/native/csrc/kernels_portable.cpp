// No instruction set in particular: loops that compilers make vectors of.
namespace {
constexpr int kAdded = 0;
}
#include "attention.h"

namespace dialogpt {
namespace {

constexpr int kRows = 2, kBlocks = 1;

struct Sums {
  int32_t lane[kLanes];
};
struct Step {
  int16_t lane[4][kLanes];  // by input: products of 16 bits, of which two fit into 16 bits as well
};
struct Four {
  int16_t x[4];
};

inline Sums start(const int32_t*) { return {}; }
inline Step step(const int8_t* weights) {
  Step r;
  for (int i = 0; i < 4; i++)
    for (int n = 0; n < kLanes; n++) r.lane[i][n] = weights[4 * n + i];
  return r;
}
inline Four four(const uint8_t* x) {
  Four r;
  for (int i = 0; i < 4; i++) r.x[i] = static_cast<int8_t>(x[i]);
  return r;
}
inline void add(Sums& sums, const Step& weights, const Four& x) {
  for (int i = 0; i < 4; i += 2) {
    int16_t pairs[kLanes];
    for (int n = 0; n < kLanes; n++)
      pairs[n] = static_cast<int16_t>(weights.lane[i][n] * x.x[i] + weights.lane[i + 1][n] * x.x[i + 1]);
    for (int n = 0; n < kLanes; n++) sums.lane[n] += pairs[n];
  }
}
inline Ints finish(const Sums& sums) { return load(sums.lane); }

}  // namespace
}  // namespace dialogpt
#include "multiply.h"

namespace dialogpt {
const Kernels kPortable = {"portable", quantise, norm_quantise, multiply, keep, attend, mass, maxima, reaching};
}
