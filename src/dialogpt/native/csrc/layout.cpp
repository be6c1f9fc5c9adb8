// Where each tensor of a packed file begins: in the order of the model, each at a multiple of 64 bytes.
#include "layout.h"

namespace dialogpt {
namespace {

class Places {
 public:
  explicit Places(std::byte* base) : base_(base) {}

  template <class T>
  T* take(int64_t count) {
    T* found = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return found;
  }

  Linear linear(int64_t outputs, int64_t inputs, int bits) {
    Linear made{};
    const int64_t blocks = made.blocks = padded(outputs) / kLanes, depth = made.depth = padded(inputs);
    made.outputs = outputs;
    if (bits == 8) {
      made.weights = take<int8_t>(blocks * kLanes * depth);
    } else {
      made.nibbles = take<uint8_t>(blocks * kLanes * depth / 2);
      made.grids = take<uint8_t>(blocks * made.groups() * kLanes);
    }
    made.scales = take<float>(blocks * kLanes);
    made.bias = take<float>(blocks * kLanes);
    made.offsets = take<int32_t>(blocks * kLanes);
    return made;
  }

  Norm norm(int64_t width) {
    float* weight = take<float>(width);
    return Norm{weight, take<float>(width)};
  }

  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

}  // namespace

Weights place(const Shape& shape, std::byte* base) {
  Places places(base);
  Weights made{};
  made.shape = shape;
  made.wte = places.linear(shape.vocab, shape.embd, 8);
  made.wpe = places.take<float>(shape.ctx * shape.width());
  for (int i = 0; i < shape.layers; i++) {
    Layer layer{};
    layer.ln_1 = places.norm(shape.width());
    layer.c_attn = places.linear(3LL * shape.embd, shape.embd, shape.bits);
    layer.attn_proj = places.linear(shape.embd, shape.embd, shape.bits);
    layer.ln_2 = places.norm(shape.width());
    layer.c_fc = places.linear(4LL * shape.embd, shape.embd, shape.bits);
    layer.mlp_proj = places.linear(shape.embd, 4LL * shape.embd, shape.bits);
    made.layers.push_back(layer);
  }
  made.ln_f = places.norm(shape.width());
  made.bytes = places.used();
  return made;
}

}  // namespace dialogpt
