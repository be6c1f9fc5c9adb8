// One call of a model: its tokens through all layers, and what is asked of their last hidden states.
#pragma once
#include "model.h"

namespace dialogpt {

class Pass {
 public:
  Pass(Model& model, const int32_t* tokens, const std::vector<Run>& runs, int64_t count, const Asked& asked);

  // What each thread of a crew does.
  void work(Crew& crew);

 private:
  // A part of the call's tokens, with the runs in it.
  struct Part {
    int64_t first, count;
    std::vector<Run> runs;  // `first` counts from the part's first token
  };

  // What a thread has to itself.
  struct Own {
    uint8_t* values;
    float *scales, *row, *scores;
    int8_t* integers;
  };

  void cut(const std::vector<Run>& runs, int64_t count);
  void embed(Crew& crew, const Part& part);
  void attend(Crew& crew, const Part& part, int layer);
  void attend_run(const Run& run, int layer, int head, const Own& own);
  void collect(Crew& crew, const Part& part);
  void answer(Crew& crew);
  Own own(const Crew& crew) const;

  template <class One>
  Quantised ready(Crew& crew, int64_t rows, int64_t depth, One one);
  Quantised normed(Crew& crew, const float* x, int64_t rows, const Norm& norm);
  Quantised quantised(Crew& crew, const float* x, int64_t rows, int64_t width);
  void multiply(Crew& crew, const Linear& linear, int64_t rows, const Quantised& x, float* out, int64_t stride,
                Then then);

  const Weights& weights_;
  const Shape& shape_;
  const Kernels& kernels_;
  const PageStore& store_;
  const int32_t* tokens_;
  const Asked asked_;
  std::vector<Part> parts_;
  int64_t own_bytes_;
  float *x_, *qkv_, *att_, *inner_, *scales_, *last_, *scored_;
  uint8_t* values_;
  std::byte* own_;
};

}  // namespace dialogpt
