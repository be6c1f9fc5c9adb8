#include "pool.h"

#include <pthread.h>
#include <sched.h>

#include <cstdlib>
#include <new>
#include <system_error>

namespace dialogpt {
namespace {

constexpr int kSpins = 3000;    // some 50 microseconds between calls, then a thread sleeps
constexpr int kPatience = 500;  // within a call: then a waiting thread offers its core to whoever wants it at each turn
constexpr uint32_t kOpen = 1u << 31;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class Ready>
void spin_until(Ready ready) {
  for (int spins = 0; !ready(); spins++)
    if (spins < kPatience)
      pause();
    else
      sched_yield();
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

// The number of a part of this phase that nobody has; below zero when there is none left.
int64_t Crew::claim(int64_t parts) {
  uint64_t ticket = pool_.ticket_.load(std::memory_order_acquire);
  do {
    if (ticket >> 32 != phase_ || static_cast<int64_t>(ticket & 0xffffffff) >= parts) return -1;
  } while (!pool_.ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel));
  return static_cast<int64_t>(ticket & 0xffffffff);
}

// Whoever does the last part opens the next phase.
void Crew::finish(int64_t parts, int64_t mine) {
  const uint64_t next = static_cast<uint64_t>(phase_ + 1) << 32;
  if (parts == 0) {
    uint64_t ticket = static_cast<uint64_t>(phase_) << 32;
    pool_.ticket_.compare_exchange_strong(ticket, next, std::memory_order_acq_rel);
    return;
  }
  if (mine && pool_.done_.fetch_add(mine, std::memory_order_acq_rel) + mine == parts) {
    pool_.done_.store(0, std::memory_order_relaxed);
    pool_.ticket_.store(next, std::memory_order_release);
    return;
  }
  spin_until([&] { return pool_.ticket_.load(std::memory_order_acquire) >= next; });
}

void Pool::begin(int threads, Job job, void* context) {
  resize(threads < 1 ? 1 : threads);
  job_ = job;
  context_ = context;
  ticket_.store(uint64_t{1} << 32);
  done_.store(0);
  if (size_ > 1) {
    gate_.store(kOpen);
    wake();
  }
  Crew crew(*this, 0);
  job(context, crew);
  gate_.fetch_and(~kOpen);
  spin_until([&] { return gate_.load(std::memory_order_acquire) == 0; });  // the job is the caller's
}

void Pool::wake() {
  calls_.fetch_add(1);  // sequentially consistent, as the sleepers' count: one of the two sides sees the other
  if (sleeping_.load() > 0) {
    std::lock_guard<std::mutex> hold(sleep_);
    waking_.notify_all();
  }
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
    if (!enter()) continue;  // the others have done it
    Crew crew(*this, number);
    job_(context_, crew);
    gate_.fetch_sub(1, std::memory_order_release);
  }
}

// Go into the call that is under way; false when there is none.
bool Pool::enter() {
  uint32_t gate = gate_.load(std::memory_order_acquire);
  do {
    if (!(gate & kOpen)) return false;
  } while (!gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel));
  return true;
}

// Waits for a call after the one that was seen last; false when the pool is to end. Other processes that want the core
// get it meanwhile: a server's HTTP is such a one.
bool Pool::await_call(uint32_t& seen) {
  for (int spins = 1; spins < kSpins && calls_.load(std::memory_order_acquire) == seen; spins++) {
    pause();
    if (spins % kPatience == 0) sched_yield();
  }
  if (calls_.load() == seen) {
    std::unique_lock<std::mutex> hold(sleep_);
    sleeping_.fetch_add(1);
    waking_.wait(hold, [&] { return calls_.load() != seen; });
    sleeping_.fetch_sub(1);
  }
  seen = calls_.load();
  return !ending_.load();
}

void Pool::stop() {
  ending_.store(true);
  wake();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  size_ = 1;
}

void Pool::stop_if_idle() {
  std::unique_lock<std::mutex> one(call_, std::try_to_lock);
  if (one) stop();
}

}  // namespace dialogpt
