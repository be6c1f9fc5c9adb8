// What an instruction set has to offer: the inner loops of the model as a table of functions.
//
// The tables differ in speed alone, up to rounding: each is one file, compiled with its own flags, and `choose` takes the
// best that the processor runs. A file for another instruction set defines one more table and is named in choose.cpp.
// Results of a table depend on a row's own data only: neither on the rows beside it nor on how the work is cut.
#pragma once
#include <string>

#include "layout.h"

namespace dialogpt {

using Half = uint16_t;  // an IEEE 754 half, as keys and values are kept

// What becomes of a product once its bias is added.
enum class Then { kStore, kAdd, kGelu };

constexpr int64_t kFewRows = 4;     // a product with more of them may read rows by whole tiles
constexpr int64_t kRoomBlocks = 2;  // blocks of integers for which a product of weights of 4 bits wants room

// Activations as 8-bit integers with one scale a row: (rows, depth), as the table's own `multiply` wants them. Where there
// are more than kFewRows, there is room for rows up to a multiple of 16, and it does not matter what stands in it.
struct Quantised {
  uint8_t* values;
  float* scales;
};

// Some queries of one head of one row, at consecutive positions, and the keys and values of that row so far.
struct Attention {
  const float* queries;  // (count, width), `query_stride` floats apart
  int64_t query_stride;
  int count;
  int seen;           // keys that the first query sees; the next sees one more
  int width, stride;  // of a head, and padded to 16
  Half* const* pages;    // of 16 positions each
  int64_t offset;        // of this layer's and head's part in a page: keys (width, 16), then values (16, stride)
  float* scores;         // room for count * padded(seen + count) floats
  float* out;            // (count, width), `out_stride` floats apart
  int64_t out_stride;
};

constexpr int kQueries = 4;  // the most of one `attend`

struct Kernels {
  const char* name;

  // x (width) -> 8 bits. A row that is not finite gets a scale that is not, and spoils its products.
  void (*quantise)(const float* x, int64_t width, uint8_t* values, float* scale);

  // The layer norm of x (embd of width), then as `quantise`. room: width floats.
  void (*norm_quantise)(const float* x, const Norm& norm, int64_t embd, float eps, float* room, uint8_t* values,
                        float* scale);

  // out[row][n] = x[row] . weights[n] + bias[n] for the outputs of blocks first..last, then `then`. room: kRoomBlocks * 16 *
  // depth bytes, where weights are of 4 bits.
  void (*multiply)(const Linear& linear, int64_t first, int64_t last, int64_t rows, const Quantised& x, int8_t* room,
                   float* out, int64_t out_stride, Then then);

  // Keep one position's key and value (width each) of a head: at its slot of a page, from the head's part on.
  void (*keep)(const float* key, const float* value, int width, int stride, int slot, Half* part);

  // softmax(q . k / sqrt(width)) . v
  void (*attend)(const Attention& work);

  // sum(exp((x - largest) * factor)) of n numbers, and the largest; none where one of them is none.
  double (*mass)(const float* x, int64_t n, float factor, float* largest);

  // The largest of each 64 of n numbers.
  void (*maxima)(const float* x, int64_t n, float* found);

  // Where n numbers are not below the bound, n at most; how many do.
  int (*reaching)(const float* x, int n, float bound, int32_t* places);
};

extern const Kernels kPortable;
#ifdef DIALOGPT_X86
extern const Kernels kSse4, kAvx2, kAvxVnni, kAvx512;
#endif
#ifdef DIALOGPT_ARM
extern const Kernels kArmv8, kNeon;
#endif
#ifdef DIALOGPT_AMX
extern const Kernels kAmx;

// Why the processor or the system does not let this process use AMX's tiles, "" once it may.
std::string tiles_refusal();
#endif

// Whether two tables have the same sums of a small product of many rows, bit for bit.
bool same_products(const Kernels& kernels, const Kernels& reference);

// The table of that name, or the best one for ""; null when it was not built, or the processor does not run it.
const Kernels* choose(const char* name);

// Why that table does not run here, "" when it does.
const char* refusal(const char* name);

// The names of the tables that this processor runs, the best first, separated by blanks.
const char* choices();

}  // namespace dialogpt
