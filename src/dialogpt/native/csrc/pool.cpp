#include "pool.h"

#include <pthread.h>
#include <sched.h>

#include <cstdlib>
#include <system_error>

namespace dialogpt {
namespace {

constexpr int kSpins = 3000;  // some 50 microseconds, then a waiting thread leaves its core to others

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

std::atomic<Pool*> process_pool{nullptr};
std::mutex making;

// After a fork the child has none of the threads, and mutexes as they were: the pool is left where it is.
void forget() {
  process_pool.store(nullptr);
  new (&making) std::mutex();
}

void at_end() {
  if (Pool* pool = process_pool.load()) pool->stop_if_idle();
}

}  // namespace

Pool& Pool::of_process() {
  if (Pool* pool = process_pool.load(std::memory_order_acquire)) return *pool;
  std::lock_guard<std::mutex> one(making);
  if (Pool* pool = process_pool.load()) return *pool;
  static const bool registered = [] {
    pthread_atfork(nullptr, nullptr, forget);
    std::atexit(at_end);
    return true;
  }();
  (void)registered;
  Pool* pool = new Pool;
  process_pool.store(pool, std::memory_order_release);
  return *pool;
}

int Crew::size() const { return pool_.size_; }

int64_t Crew::claim(int64_t grain) { return pool_.next_.fetch_add(grain, std::memory_order_relaxed); }

void Crew::meet() {
  const uint32_t meeting = pool_.meetings_.load(std::memory_order_relaxed);
  if (pool_.arrived_.fetch_add(1, std::memory_order_acq_rel) == pool_.size_ - 1) {
    pool_.arrived_.store(0, std::memory_order_relaxed);
    pool_.next_.store(0, std::memory_order_relaxed);
    pool_.meetings_.store(meeting + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; pool_.meetings_.load(std::memory_order_acquire) == meeting; spins++)
    if (spins < kSpins)
      pause();
    else
      sched_yield();
}

void Pool::begin(int threads, Job job, void* context) {
  resize(threads < 1 ? 1 : threads);
  job_ = job;
  context_ = context;
  if (size_ > 1) {
    calls_.fetch_add(1);  // sequentially consistent, as the sleepers' count: one of the two sides sees the other
    if (sleeping_.load() > 0) {
      std::lock_guard<std::mutex> hold(sleep_);
      wake_.notify_all();
    }
  }
  Crew crew(*this, 0);
  job(context, crew);
  crew.meet();
}

void Pool::resize(int threads) {
  if (threads == size_) return;
  stop();
  ending_.store(false);
  try {
    for (int number = 1; number < threads; number++)
      threads_.emplace_back(&Pool::work, this, number, calls_.load());
  } catch (const std::system_error&) {  // the system gives no more of them
  }
  size_ = static_cast<int>(threads_.size()) + 1;
}

void Pool::work(int number, uint32_t seen) {
  while (await_call(seen)) {
    seen++;
    Crew crew(*this, number);
    job_(context_, crew);
    crew.meet();
  }
}

// Waits for a call after the one that was seen last; false when the pool is to end.
bool Pool::await_call(uint32_t seen) {
  for (int spins = 0; spins < kSpins; spins++) {
    if (calls_.load(std::memory_order_acquire) != seen) return !ending_.load();
    pause();
  }
  std::unique_lock<std::mutex> hold(sleep_);
  sleeping_.fetch_add(1);
  wake_.wait(hold, [&] { return calls_.load() != seen; });
  sleeping_.fetch_sub(1);
  return !ending_.load();
}

void Pool::stop() {
  if (threads_.empty()) return;
  ending_.store(true);
  {
    std::lock_guard<std::mutex> hold(sleep_);
    calls_.fetch_add(1);
    wake_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  size_ = 1;
}

void Pool::stop_if_idle() {
  std::unique_lock<std::mutex> one(call_, std::try_to_lock);
  if (one) stop();
}

}  // namespace dialogpt
