// Reads rows of tokens with the library, all together and each alone, and writes both logits: what tests/native/test_arm.py
// runs where Python is not, under an emulator.
//
//     driver MODEL KERNELS BITS VOCAB CTX LAYERS HEADS EMBD EPS < rows > logits
//
// A row on standard input is its number of tokens and the tokens, all 32-bit integers.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

struct Shape {
  int32_t vocab, ctx, layers, heads, embd;
  float eps;
  int32_t bits;
};

extern "C" {
const char* dialogpt_error();
const char* dialogpt_choices();
void* dialogpt_open(const char*, int64_t, const Shape*, const char*, int);
void* dialogpt_cache(void*, int);
int dialogpt_read(void*, void*, const int32_t*, const int32_t*, int64_t, const int32_t*, int64_t, float*, int64_t,
                  const int32_t*, float*);
}

static void check(bool well) {
  if (well) return;
  std::fprintf(stderr, "%s\n", dialogpt_error());
  std::exit(1);
}

int main(int, char** given) {
  const auto number = [given](int at) { return std::atoi(given[at]); };
  const Shape shape{number(4), number(5), number(6), number(7), number(8), float(std::atof(given[9])), number(3)};
  std::fprintf(stderr, "%s\n", dialogpt_choices());
  void* model = dialogpt_open(given[1], 4096, &shape, given[2], 2);
  check(model);
  std::vector<std::vector<int32_t>> rows;
  for (int32_t count; std::fread(&count, 4, 1, stdin) == 1;) {
    rows.emplace_back(count);
    check(std::fread(rows.back().data(), 4, count, stdin) == size_t(count));
  }
  std::vector<int32_t> tokens, owners, ends;
  const int32_t stride = (shape.vocab + 15) / 16 * 16;
  for (size_t row = 0; row < rows.size(); row++) {
    tokens.insert(tokens.end(), rows[row].begin(), rows[row].end());
    owners.insert(owners.end(), rows[row].size(), int32_t(row));
    ends.push_back(int32_t(tokens.size()) - 1);
  }
  std::vector<float> logits(rows.size() * stride), alone(stride);
  void* cache = dialogpt_cache(model, int(rows.size()));
  check(!dialogpt_read(model, cache, tokens.data(), owners.data(), tokens.size(), ends.data(), ends.size(),
                       logits.data(), stride, nullptr, nullptr));
  std::fwrite(logits.data(), 4, logits.size(), stdout);
  for (const auto& row : rows) {
    const std::vector<int32_t> zeros(row.size());
    const int32_t last = int32_t(row.size()) - 1;
    check(!dialogpt_read(model, dialogpt_cache(model, 1), row.data(), zeros.data(), row.size(), &last, 1, alone.data(),
                         stride, nullptr, nullptr));
    std::fwrite(alone.data(), 4, alone.size(), stdout);
  }
}
