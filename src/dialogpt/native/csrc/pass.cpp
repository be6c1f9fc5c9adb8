// The forward pass. Between two products is one pass over a row's activations: layer norm and to 8 bits, or to 8 bits
// alone; bias, gelu and residual sum are the end of the product before. Threads share rows, heads or blocks of outputs, a
// phase for each (see pool.h): five a layer when a single row is read.
#include "pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace dialogpt {
namespace {

constexpr int64_t kAlone = 2;  // rows up to which each thread makes all of them for itself, in place of waiting
static_assert(kAlone <= kFewRows);

size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

Pass::Pass(Model& model, const int32_t* tokens, const std::vector<Run>& runs, int64_t count, const Asked& asked)
    : weights_(model.weights_), shape_(model.weights_.shape), kernels_(model.kernels_), store_(*model.store_),
      tokens_(tokens), asked_(asked) {
  cut(runs, count);
  int64_t most = 0;
  for (const Part& part : parts_) most = std::max(most, part.count);
  const int64_t answered = std::min<int64_t>(asked.count, kTokens), rows = std::max(most, answered);
  x_ = model.x_.floor<float>(most * shape_.width());
  qkv_ = model.qkv_.floor<float>(most * shape_.qkv_width());
  att_ = model.att_.floor<float>(most * shape_.width());
  inner_ = model.inner_.floor<float>(most * shape_.inner_width());
  values_ = model.values_.floor<uint8_t>(padded(rows) * shape_.inner_width());
  scales_ = model.scales_.floor<float>(rows);
  last_ = model.last_.floor<float>(asked.count * shape_.width());
  scored_ = asked.targets ? model.scored_.floor<float>(kScored * padded(shape_.vocab)) : nullptr;
  own_bytes_ = whole_lines(kAlone * shape_.inner_width()) + whole_lines(kAlone * sizeof(float)) +
               whole_lines(shape_.width() * sizeof(float)) +
               whole_lines(kQueries * padded(shape_.ctx + kQueries) * sizeof(float)) +
               (shape_.bits == 8 ? 0 : whole_lines(kRoomBlocks * kLanes * shape_.inner_width()));
  own_ = model.own_.floor<std::byte>(own_bytes_ * model.threads_);
}

// Parts of about the same size; a run may go on in the next part, whose tokens see those of this one in the cache.
void Pass::cut(const std::vector<Run>& runs, int64_t count) {
  const int64_t parts = (count + kTokens - 1) / kTokens;
  for (int64_t i = 0; i < parts; i++) {
    Part part{count * i / parts, 0, {}};
    const int64_t last = count * (i + 1) / parts;
    part.count = last - part.first;
    for (const Run& run : runs) {
      const int64_t from = std::max<int64_t>(run.first, part.first);
      const int64_t to = std::min<int64_t>(run.first + run.count, last);
      if (from >= to) continue;
      part.runs.push_back(run);
      part.runs.back().begin += static_cast<int>(from - run.first);
      part.runs.back().first = static_cast<int>(from - part.first);
      part.runs.back().count = static_cast<int>(to - from);
    }
    parts_.push_back(std::move(part));
  }
}

Pass::Own Pass::own(const Crew& crew) const {
  std::byte* at = own_ + own_bytes_ * crew.number();
  Own found{};
  found.values = reinterpret_cast<uint8_t*>(at);
  at += whole_lines(kAlone * shape_.inner_width());
  found.scales = reinterpret_cast<float*>(at);
  at += whole_lines(kAlone * sizeof(float));
  found.row = reinterpret_cast<float*>(at);
  at += whole_lines(shape_.width() * sizeof(float));
  found.scores = reinterpret_cast<float*>(at);
  at += whole_lines(kQueries * padded(shape_.ctx + kQueries) * sizeof(float));
  found.integers = reinterpret_cast<int8_t*>(at);
  return found;
}

void Pass::work(Crew& crew) {
  const int64_t width = shape_.width();
  for (const Part& part : parts_) {
    const int64_t rows = part.count;
    embed(crew, part);
    for (int i = 0; i < shape_.layers; i++) {
      const Layer& layer = weights_.layers[i];
      multiply(crew, layer.c_attn, rows, normed(crew, x_, rows, layer.ln_1), qkv_, shape_.qkv_width(), Then::kStore);
      attend(crew, part, i);
      multiply(crew, layer.attn_proj, rows, quantised(crew, att_, rows, width), x_, width, Then::kAdd);
      multiply(crew, layer.c_fc, rows, normed(crew, x_, rows, layer.ln_2), inner_, shape_.inner_width(), Then::kGelu);
      multiply(crew, layer.mlp_proj, rows, quantised(crew, inner_, rows, shape_.inner_width()), x_, width, Then::kAdd);
    }
    collect(crew, part);
  }
  answer(crew);
}

void Pass::embed(Crew& crew, const Part& part) {
  const Linear& wte = weights_.wte;
  const int64_t width = shape_.width();
  const int64_t runs = static_cast<int64_t>(part.runs.size());
  const auto one = [&](int64_t token, int64_t place, int position) {
    const int8_t* weights = wte.weights + token / kLanes * kLanes * wte.depth + token % kLanes * 4;
    const float scale = wte.scales[token];
    const float* at = weights_.wpe + position * width;
    float* x = x_ + place * width;
    for (int64_t k = 0; k < width; k++) x[k] = weights[k / 4 * 64 + k % 4] * scale + at[k];
  };
  crew.share(runs, crew.grain(runs), [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; r++) {
      const Run& run = part.runs[r];
      for (int i = 0; i < run.count; i++) one(tokens_[part.first + run.first + i], run.first + i, run.begin + i);
    }
  });
}

// Heads are the outer order: rows that share pages come one after another, while those are in cache.
void Pass::attend(Crew& crew, const Part& part, int layer) {
  const int64_t runs = static_cast<int64_t>(part.runs.size()), tasks = runs * shape_.heads;
  const Own mine = own(crew);
  crew.share(tasks, crew.grain(tasks), [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; task++)
      attend_run(part.runs[task % runs], layer, static_cast<int>(task / runs), mine);
  });
}

void Pass::attend_run(const Run& run, int layer, int head, const Own& own) {
  const int width = shape_.head_width(), stride = static_cast<int>(padded(width));
  const int64_t qkv_width = shape_.qkv_width(), offset = store_.offset(layer, head);
  const float* query = qkv_ + run.first * qkv_width + static_cast<int64_t>(head) * width;
  for (int i = 0; i < run.count; i++) {
    const float* key = query + i * qkv_width + shape_.embd;
    const int position = run.begin + i;
    kernels_.keep(key, key + shape_.embd, width, stride, position % kLanes, run.pages[position / kLanes] + offset);
  }
  for (int i = 0; i < run.count; i += kQueries) {
    Attention work{};
    work.queries = query + i * qkv_width;
    work.query_stride = qkv_width;
    work.count = std::min(kQueries, run.count - i);
    work.seen = run.begin + i + 1;
    work.width = width;
    work.stride = stride;
    work.pages = run.pages.data();
    work.offset = offset;
    work.scores = own.scores;
    work.out = att_ + (run.first + i) * shape_.width() + static_cast<int64_t>(head) * width;
    work.out_stride = shape_.width();
    kernels_.attend(work);
  }
}

// Keep the hidden states that are asked for: the next part has the room.
void Pass::collect(Crew& crew, const Part& part) {
  const int64_t width = shape_.width();
  const int32_t* end = asked_.places + asked_.count;
  const int64_t from = std::lower_bound(asked_.places, end, part.first) - asked_.places;
  const int64_t to = std::lower_bound(asked_.places, end, part.first + part.count) - asked_.places;
  crew.share(to - from, crew.grain(to - from), [&](int64_t first, int64_t last) {
    for (int64_t i = from + first; i < from + last; i++)
      std::memcpy(last_ + i * width, x_ + (asked_.places[i] - part.first) * width, width * sizeof(float));
  });
}

void Pass::answer(Crew& crew) {
  const int64_t width = shape_.width(), together = asked_.targets ? kScored : kTokens;
  for (int64_t from = 0; from < asked_.count; from += together) {
    const int64_t rows = std::min(asked_.count - from, together);
    float* logits = asked_.targets ? scored_ : asked_.logits + from * asked_.stride;
    const int64_t stride = asked_.targets ? padded(shape_.vocab) : asked_.stride;
    multiply(crew, weights_.wte, rows, normed(crew, last_ + from * width, rows, weights_.ln_f), logits, stride,
             Then::kStore);
    if (!asked_.targets) continue;
    crew.share(rows, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; i++) {
        const float* row = logits + i * stride;
        float largest;
        const double mass = kernels_.mass(row, shape_.vocab, 1.0f, &largest);
        asked_.logprobs[from + i] = static_cast<float>(row[asked_.targets[from + i]] - largest - std::log(mass));
      }
    });
  }
}

// Rows in 8 bits: one(i, values, scale) makes row i.
template <class One>
Quantised Pass::ready(Crew& crew, int64_t rows, int64_t depth, One one) {
  if (rows <= kAlone) {
    const Own mine = own(crew);
    for (int64_t i = 0; i < rows; i++) one(i, mine.values + i * depth, mine.scales + i);
    return {mine.values, mine.scales};
  }
  crew.share(rows, crew.grain(rows), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) one(i, values_ + i * depth, scales_ + i);
  });
  return {values_, scales_};
}

Quantised Pass::normed(Crew& crew, const float* x, int64_t rows, const Norm& norm) {
  const int64_t width = shape_.width();
  float* room = own(crew).row;
  return ready(crew, rows, width, [=, this_ = this](int64_t i, uint8_t* values, float* scale) {
    this_->kernels_.norm_quantise(x + i * width, norm, this_->shape_.embd, this_->shape_.eps, room, values, scale);
  });
}

Quantised Pass::quantised(Crew& crew, const float* x, int64_t rows, int64_t width) {
  return ready(crew, rows, width, [=, this_ = this](int64_t i, uint8_t* values, float* scale) {
    this_->kernels_.quantise(x + i * width, width, values, scale);
  });
}

void Pass::multiply(Crew& crew, const Linear& linear, int64_t rows, const Quantised& x, float* out, int64_t stride,
                    Then then) {
  int8_t* room = own(crew).integers;
  crew.share(linear.blocks, crew.grain(linear.blocks, 2), [&](int64_t first, int64_t last) {
    kernels_.multiply(linear, first, last, rows, x, room, out, stride, then);
  });
}

}  // namespace dialogpt
