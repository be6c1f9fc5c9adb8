// A model that is ready to run: weights in a mapped file, the kernels of this processor, room for a pass.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cache.h"
#include "kernels.h"
#include "pool.h"

namespace dialogpt {

constexpr int kTokens = 512;  // of one pass through the layers: more of them go in several
constexpr int kScored = 64;   // rows of the output layer that are scored together

// Memory of a size that is known before a pass begins.
class Room {
 public:
  template <class T>
  T* floor(size_t count) {  // at least that many, aligned to 64 bytes; what it held is lost when it grows
    const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    if (bytes > bytes_) grow(bytes);
    return static_cast<T*>(memory_.get());
  }

 private:
  void grow(size_t bytes);

  std::shared_ptr<void> memory_;
  size_t bytes_ = 0;
};

// Some tokens for one row of a cache, at consecutive positions.
struct Run {
  Row* row;
  int begin;         // the position of its first token
  int first, count;  // in the call's tokens
  std::vector<Half*> pages;
};

// What is to be done with the tokens' last hidden states.
struct Asked {
  const int32_t* places;   // of tokens, ascending
  int64_t count;
  float* logits;           // (count, stride), or null
  int64_t stride;
  const int32_t* targets;  // or null; then
  float* logprobs;         // (count): log p(target)
};

class Model {
 public:
  // Opens the weights at `begin` of a file; throws std::runtime_error with what is wrong.
  Model(const std::string& path, size_t begin, const Shape& shape, const Kernels& kernels, int threads);

  const Shape& shape() const { return weights_.shape; }
  std::shared_ptr<PageStore> store() const { return store_; }
  const Kernels& kernels() const { return kernels_; }
  int threads() const { return threads_; }

  // Read tokens: rows[i] is the place of token i's row in the cache; a row's tokens stand together. The rows are as long
  // as what they have read when it returns, and as before when it throws.
  void read(Cache& cache, const int32_t* tokens, const int32_t* rows, int64_t count, const Asked& asked);

 private:
  friend class Pass;

  std::shared_ptr<void> mapped_;
  Weights weights_;
  const Kernels& kernels_;
  const int threads_;
  std::shared_ptr<PageStore> store_;
  std::mutex hold_;  // one pass at a time has the rooms
  Room x_, qkv_, att_, inner_, values_, scales_, own_, last_, scored_;
};

}  // namespace dialogpt
