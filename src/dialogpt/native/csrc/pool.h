// One pool of threads for the process, which work on one call at a time.
//
// Within a call threads wait for each other by spinning: a forward pass has some hundred waits of less than a microsecond
// each. Between calls they spin for a moment, since the next token is asked for soon, and then sleep: a pool that goes on
// spinning takes its cores from others. The thread that calls is one of the crew.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace dialogpt {

class Pool;

// What a thread of a call sees of the others.
class Crew {
 public:
  Crew(Pool& pool, int number) : pool_(pool), number_(number) {}

  int number() const { return number_; }
  int size() const;

  // Wait until all have come here. What each wrote before it, all see after it.
  void meet();

  // work(first, last) for parts of 0..count, of `grain` at a time, whichever thread comes for them; ends with `meet`.
  template <class Work>
  void share(int64_t count, int64_t grain, Work work) {
    for (int64_t first; (first = claim(grain)) < count;) work(first, first + grain < count ? first + grain : count);
    meet();
  }

  // A grain that cuts `count` into some parts for each thread, of whole `unit`s.
  int64_t grain(int64_t count, int64_t unit = 1) const {
    const int64_t parts = size() == 1 ? 1 : 4 * size(), units = (count + unit - 1) / unit;
    return (units + parts - 1) / parts * unit;
  }

 private:
  int64_t claim(int64_t grain);

  Pool& pool_;
  const int number_;
};

class Pool {
 public:
  // The process's pool. A child of `fork` gets its own at its first call.
  static Pool& of_process();

  // work(crew) on that many threads; one call after another.
  template <class Work>
  void run(int threads, Work work) {
    std::lock_guard<std::mutex> one(call_);
    begin(threads, [](void* context, Crew& crew) { (*static_cast<Work*>(context))(crew); }, &work);
  }

  // At the end of the process: threads end, unless a call is under way.
  void stop_if_idle();

 private:
  friend class Crew;
  using Job = void (*)(void*, Crew&);

  void begin(int threads, Job job, void* context);
  void resize(int threads);
  void stop();
  void work(int number, uint32_t seen);
  bool await_call(uint32_t seen);

  std::mutex call_;
  std::vector<std::thread> threads_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  int size_ = 1;

  // Each on a line of cache of its own, or what one thread writes slows the others' reading.
  alignas(64) std::atomic<uint32_t> calls_{0};
  alignas(64) std::atomic<uint32_t> meetings_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<int> sleeping_{0};
  std::atomic<bool> ending_{false};
  std::mutex sleep_;
  std::condition_variable wake_;
};

}  // namespace dialogpt
