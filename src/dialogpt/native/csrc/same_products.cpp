// A look at kernels before they are trusted: a product with rows, outputs and inputs that do not fill the last tile.
#include <cstring>
#include <vector>

#include "kernels.h"

namespace dialogpt {
namespace {

constexpr int64_t kRows = 37, kBlocks = 3, kDepth = 208;

std::vector<float> product(const Kernels& kernels) {
  const int64_t outputs = kBlocks * kLanes;
  std::vector<int8_t> weights(outputs * kDepth);
  std::vector<float> scales(outputs, 0.5f), bias(outputs, 0.25f), row_scales(kRows, 2.0f), out(kRows * outputs);
  std::vector<int32_t> offsets(outputs);
  std::vector<uint8_t> values(padded(kRows) * kDepth);
  uint32_t state = 1;
  const auto any = [&state] { return (state = state * 1664525u + 1013904223u) >> 24; };
  for (uint8_t& value : values) value = static_cast<uint8_t>(any());
  for (int8_t& weight : weights) weight = static_cast<int8_t>(any());
  const Linear linear{outputs,       kBlocks,       kDepth,      weights.data(), nullptr, nullptr,
                      scales.data(), bias.data(), offsets.data()};
  kernels.multiply(linear, 0, kBlocks, kRows, {values.data(), row_scales.data()}, nullptr, out.data(), outputs,
                   Then::kStore);
  return out;
}

}  // namespace

bool same_products(const Kernels& kernels, const Kernels& reference) {
  const std::vector<float> found = product(kernels), expected = product(reference);
  return std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0;
}

}  // namespace dialogpt
