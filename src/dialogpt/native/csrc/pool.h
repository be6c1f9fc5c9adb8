// One pool of threads for the process, which work on one call at a time.
//
// A call goes through phases, each a number of parts that threads come for. A phase ends when its parts are done, not when
// all threads have been there: one whose core is taken by another process keeps nobody waiting, and when it comes back
// it skips what is over. Between phases threads spin: a forward pass has some hundred phases of microseconds. Between calls
// they spin for a moment, since the next token is asked for soon, and then sleep: a pool that goes on spinning takes its
// cores from others. The thread that calls is one of the crew.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace dialogpt {

class Pool;

// A thread's way through a call: every thread of the crew goes through the same phases, in the same order.
class Crew {
 public:
  Crew(Pool& pool, int number) : pool_(pool), number_(number) {}

  int number() const { return number_; }
  int size() const;

  // A phase: work(first, last) for parts of 0..count, of `grain` at a time, by whichever threads come for them. It is over
  // when this returns, and what was written in it is seen. Between two phases a thread may read what phases before have
  // written, but what it makes of that counts in the next phase alone: others may be past that already.
  template <class Work>
  void share(int64_t count, int64_t grain, Work work) {
    const int64_t parts = count > 0 ? (count + grain - 1) / grain : 0;
    phase_++;
    int64_t mine = 0;
    for (int64_t part; (part = claim(parts)) >= 0; mine++) {
      const int64_t first = part * grain;
      work(first, first + grain < count ? first + grain : count);
    }
    finish(parts, mine);
  }

  // A grain that cuts `count` into some parts for each thread, of whole `unit`s.
  int64_t grain(int64_t count, int64_t unit = 1) const {
    const int64_t parts = size() == 1 ? 1 : 4 * size(), units = (count + unit - 1) / unit;
    const int64_t found = (units + parts - 1) / parts * unit;
    return found > 0 ? found : 1;
  }

 private:
  int64_t claim(int64_t parts);
  void finish(int64_t parts, int64_t mine);

  Pool& pool_;
  const int number_;
  uint32_t phase_ = 0;
};

class Pool {
 public:
  // The process's pool. A child of `fork` gets its own at its first call.
  static Pool& of_process();

  // work(crew) on up to that many threads; one call after another.
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
  void wake();
  void work(int number, uint32_t seen);
  bool await_call(uint32_t& seen);
  bool enter();

  std::mutex call_;
  std::vector<std::thread> threads_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  int size_ = 1;

  // Each on a line of cache of its own, or what one thread writes slows the others' reading.
  alignas(64) std::atomic<uint32_t> calls_{0};
  alignas(64) std::atomic<uint32_t> gate_{0};    // whether a call takes threads in, and how many are inside
  alignas(64) std::atomic<uint64_t> ticket_{0};  // the phase that is open (the upper half), and its next part
  alignas(64) std::atomic<int64_t> done_{0};     // parts of it
  alignas(64) std::atomic<int> sleeping_{0};
  std::atomic<bool> ending_{false};
  std::mutex sleep_;
  std::condition_variable waking_;
};

}  // namespace dialogpt
