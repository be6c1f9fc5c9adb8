#include "cache.h"

#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <new>

namespace dialogpt {
namespace {

constexpr size_t kHuge = 2 << 20;  // bytes of a large page of the system: a row's keys take fewer translations
constexpr size_t kSlabPages = 8;

std::shared_ptr<void> slab(size_t bytes) {
  const size_t whole = (bytes + kHuge - 1) / kHuge * kHuge;
  void* found = std::aligned_alloc(kHuge, whole);
  if (!found) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (bytes >= kHuge) madvise(found, whole, MADV_HUGEPAGE);
#endif
  return std::shared_ptr<void>(found, [](void* p) { std::free(p); });
}

}  // namespace

PageStore::PageStore(const Shape& shape)
    : heads_(shape.heads),
      part_(kLanes * (shape.head_width() + padded(shape.head_width()))),
      page_bytes_((sizeof(Half) * shape.layers * shape.heads * part_ + 63) / 64 * 64) {}

std::shared_ptr<Half[]> PageStore::take() {
  Half* page;
  {
    std::lock_guard<std::mutex> hold(hold_);
    if (free_.empty()) {
      slabs_.push_back(slab(kSlabPages * page_bytes_));
      free_.reserve(kSlabPages * slabs_.size());  // so that giving back needs no memory
      for (size_t i = kSlabPages; i-- > 0;)
        free_.push_back(reinterpret_cast<Half*>(static_cast<char*>(slabs_.back().get()) + i * page_bytes_));
    }
    page = free_.back();
    free_.pop_back();
  }
  return std::shared_ptr<Half[]>(page, [store = shared_from_this()](Half* p) { store->give_back(p); });
}

void PageStore::give_back(Half* page) {
  std::lock_guard<std::mutex> hold(hold_);
  free_.push_back(page);
}

void Row::cut(int to) {
  length = to;
  pages.resize(static_cast<size_t>((to + kLanes - 1) / kLanes));
}

void Row::prepare(int count, PageStore& store) {
  cut(length);  // a call that failed may have left pages
  const size_t needed = static_cast<size_t>((length + count + kLanes - 1) / kLanes);
  if (count && length % kLanes && pages.back().use_count() > 1) {
    std::shared_ptr<Half[]> own = store.take();
    std::memcpy(own.get(), pages.back().get(), store.page_bytes());
    pages.back() = std::move(own);
  } else {
    std::atomic_thread_fence(std::memory_order_acquire);  // whoever had the page before has read it
  }
  while (pages.size() < needed) pages.push_back(store.take());
}

}  // namespace dialogpt
