// The library's functions, as C has them: plain numbers and pointers, no exceptions. What can go wrong returns null or -1,
// and `dialogpt_error` says what it was, in the calling thread. Objects are the caller's, who gives each back once.
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_set>

#include "candidates.h"
#include "model.h"
#include "pack.h"

using namespace dialogpt;

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

thread_local std::string error;

template <class Result, class Work>
Result guarded(Result failed, Work work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    error = "out of memory";
  } catch (const std::exception& thrown) {
    error = thrown.what();
  }
  return failed;
}

const Kernels& kernels_of(const char* name) {
  const Kernels* found = choose(name);
  if (!found) throw std::runtime_error(std::string("no kernels ") + name + " here, but " + choices());
  return *found;
}

// The place of a checkpoint's tensor; `inputs` and `turned` say how it stands there: GPT-2 has (inputs, outputs).
struct Target {
  const Linear* linear = nullptr;
  const Norm* norm = nullptr;
  int64_t inputs = 0;
  bool turned = true;
};

Target target_of(const Weights& weights, int layer, const std::string& name) {
  const Shape& shape = weights.shape;
  if (name == "wte") return {&weights.wte, nullptr, shape.embd, false};
  if (name == "ln_f") return {nullptr, &weights.ln_f};
  const Layer& of = weights.layers.at(layer);
  if (name == "ln_1") return {nullptr, &of.ln_1};
  if (name == "ln_2") return {nullptr, &of.ln_2};
  if (name == "attn.c_attn") return {&of.c_attn, nullptr, shape.embd};
  if (name == "attn.c_proj") return {&of.attn_proj, nullptr, shape.embd};
  if (name == "mlp.c_fc") return {&of.c_fc, nullptr, shape.embd};
  if (name == "mlp.c_proj") return {&of.mlp_proj, nullptr, 4LL * shape.embd};
  throw std::runtime_error("no tensor " + name);
}

}  // namespace

EXPORTED const char* dialogpt_error() { return error.c_str(); }

EXPORTED const char* dialogpt_choices() { return choices(); }

EXPORTED const char* dialogpt_refusal(const char* kernels) { return refusal(kernels); }

EXPORTED int64_t dialogpt_packed_bytes(const Shape* shape) {
  return guarded<int64_t>(-1, [&] { return static_cast<int64_t>(place(*shape, nullptr).bytes); });
}

// Put a tensor of a checkpoint, and its bias, into the packed weights at `base`, which are zero before.
EXPORTED int dialogpt_pack(const Shape* shape, void* base, int layer, const char* name, const void* data, int type,
                           const void* bias, int bias_type, int threads) {
  return guarded(-1, [&] {
    const Weights weights = place(*shape, static_cast<std::byte*>(base));
    const int64_t embd = shape->embd;
    if (!std::strcmp(name, "wpe")) {
      copy({data, Type(type), shape->ctx, embd, embd, 1}, weights.wpe, shape->width());
      return 0;
    }
    const Target to = target_of(weights, layer, name);
    if (to.norm) {
      copy({data, Type(type), 1, embd, embd, 1}, to.norm->weight, shape->width());
      copy({bias, Type(bias_type), 1, embd, embd, 1}, to.norm->bias, shape->width());
      return 0;
    }
    const int64_t outputs = to.linear->outputs;
    const Source from{data, Type(type), outputs, to.inputs, to.turned ? 1 : to.inputs, to.turned ? outputs : 1};
    pack(from, {bias, Type(bias_type), 1, outputs, outputs, 1}, *to.linear, threads);
    return 0;
  });
}

EXPORTED Model* dialogpt_open(const char* path, int64_t begin, const Shape* shape, const char* kernels, int threads) {
  return guarded<Model*>(nullptr, [&] { return new Model(path, begin, *shape, kernels_of(kernels), threads); });
}

EXPORTED void dialogpt_close(Model* model) { delete model; }

EXPORTED Cache* dialogpt_cache(Model* model, int rows) {
  return guarded<Cache*>(nullptr, [&] { return new Cache{model->store(), std::vector<Row>(rows)}; });
}

EXPORTED void dialogpt_cache_free(Cache* cache) { delete cache; }

// Give `to` the rows of `from` that are named, -1 being one that has read nothing; both may be the same cache.
EXPORTED int dialogpt_cache_take(Cache* to, const Cache* from, const int32_t* rows, int count) {
  return guarded(-1, [&] {
    std::vector<Row> taken(count);
    for (int i = 0; i < count; i++)
      if (rows[i] >= 0) taken[i] = from->rows.at(rows[i]);
    to->rows = std::move(taken);
    return 0;
  });
}

// Row places[i] of `to` becomes row i of `from`, or one that has read nothing when there is no `from`.
EXPORTED int dialogpt_cache_put(Cache* to, const int32_t* places, int count, const Cache* from) {
  return guarded(-1, [&] {
    for (int i = 0; i < count; i++) to->rows.at(places[i]) = from ? from->rows.at(i) : Row{};
    return 0;
  });
}

EXPORTED int dialogpt_cache_cut(Cache* cache, int row, int length) {
  return guarded(-1, [&] {
    if (length < cache->rows.at(row).length) cache->rows[row].cut(length);
    return 0;
  });
}

EXPORTED void dialogpt_cache_lengths(const Cache* cache, int32_t* found) {
  for (const Row& row : cache->rows) *found++ = row.length;
}

// What its pages take; those that several rows have are counted once.
EXPORTED int64_t dialogpt_cache_bytes(const Cache* cache) {
  return guarded<int64_t>(-1, [&] {
    std::unordered_set<const void*> pages;
    for (const Row& row : cache->rows)
      for (const auto& page : row.pages) pages.insert(page.get());
    return static_cast<int64_t>(pages.size() * cache->store->page_bytes());
  });
}

// Read tokens; see Model::read and Asked. Of the tokens at `places`, logits or the targets' logprobs are written.
EXPORTED int dialogpt_read(Model* model, Cache* cache, const int32_t* tokens, const int32_t* rows, int64_t count,
                           const int32_t* places, int64_t asked, float* logits, int64_t stride, const int32_t* targets,
                           float* logprobs) {
  return guarded(-1, [&] {
    model->read(*cache, tokens, rows, count, {places, asked, logits, stride, targets, logprobs});
    return 0;
  });
}

EXPORTED int dialogpt_masses(const Model* model, const float* const* rows, int64_t count, const float* factors,
                             double* found, float* largest) {
  return guarded(-1, [&] {
    masses(model->kernels(), model->threads(), {rows, count, model->shape().vocab}, factors, found, largest);
    return 0;
  });
}

EXPORTED int dialogpt_likeliest(const Model* model, const float* const* rows, int64_t count, int64_t k, float* values,
                                int64_t* places) {
  return guarded(-1, [&] {
    likeliest(model->kernels(), model->threads(), {rows, count, model->shape().vocab}, k, values, places);
    return 0;
  });
}
