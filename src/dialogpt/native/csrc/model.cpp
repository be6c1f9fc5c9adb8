// Opening a model, and what has to be known of a call before its pass begins.
#include "model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "pass.h"

namespace dialogpt {
namespace {

std::shared_ptr<void> map_file(const std::string& path, size_t least_bytes) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw std::runtime_error(std::strerror(errno));
  struct stat known {};
  if (::fstat(file, &known) != 0 || static_cast<size_t>(known.st_size) < least_bytes) {
    ::close(file);
    throw std::runtime_error("it is shorter than its model");
  }
  const size_t bytes = static_cast<size_t>(known.st_size);
  void* found = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
  ::close(file);
  if (found == MAP_FAILED) throw std::runtime_error(std::strerror(errno));
#ifdef MADV_HUGEPAGE
  ::madvise(found, bytes, MADV_HUGEPAGE);  // a token reads all of it: large pages are a tenth faster, where there are any
#endif
  return std::shared_ptr<void>(found, [bytes](void* p) { ::munmap(p, bytes); });
}

// Cut a call's tokens into runs of one row; std::runtime_error names what cannot be read.
std::vector<Run> runs_of(const Shape& shape, Cache& cache, const int32_t* tokens, const int32_t* rows, int64_t count) {
  std::vector<Run> runs;
  std::vector<bool> met(cache.rows.size(), false);
  for (int64_t i = 0; i < count; i++) {
    if (tokens[i] < 0 || tokens[i] >= shape.vocab)
      throw std::runtime_error("no token " + std::to_string(tokens[i]) + " in a vocabulary of " +
                               std::to_string(shape.vocab));
    const size_t row = static_cast<size_t>(rows[i]);
    if (row >= cache.rows.size()) throw std::runtime_error("no row " + std::to_string(rows[i]) + " in the cache");
    if (i == 0 || rows[i] != rows[i - 1]) {
      if (met[row]) throw std::runtime_error("the tokens of row " + std::to_string(row) + " do not stand together");
      met[row] = true;
      runs.push_back({&cache.rows[row], cache.rows[row].length, static_cast<int>(i), 0, {}});
    }
    runs.back().count++;
  }
  for (const Run& run : runs)
    if (run.begin + run.count > shape.ctx)
      throw std::runtime_error(std::to_string(run.begin + run.count) + " tokens in a row, the model has " +
                               std::to_string(shape.ctx) + " positions");
  return runs;
}

}  // namespace

void Room::grow(size_t bytes) {
  memory_.reset();
  bytes_ = 0;
  void* found = std::aligned_alloc(64, bytes);
  if (!found) throw std::bad_alloc();
  std::memset(found, 0, bytes);  // rows are padded by zeros
  memory_ = std::shared_ptr<void>(found, [](void* p) { std::free(p); });
  bytes_ = bytes;
}

Model::Model(const std::string& path, size_t begin, const Shape& shape, const Kernels& kernels, int threads)
    : kernels_(kernels), threads_(threads), store_(std::make_shared<PageStore>(shape)) {
  const size_t bytes = place(shape, nullptr).bytes;
  mapped_ = map_file(path, begin + bytes);
  // Never written through: the file is mapped for reading alone.
  weights_ = place(shape, static_cast<std::byte*>(mapped_.get()) + begin);
}

void Model::read(Cache& cache, const int32_t* tokens, const int32_t* rows, int64_t count, const Asked& asked) {
  std::lock_guard<std::mutex> one(hold_);
  std::vector<Run> runs = runs_of(shape(), cache, tokens, rows, count);
  for (Run& run : runs) {
    run.row->prepare(run.count, *store_);
    for (const auto& page : run.row->pages) run.pages.push_back(page.get());
  }
  Pass pass(*this, tokens, runs, count, asked);
  Pool::of_process().run(threads_, [&pass](Crew& crew) { pass.work(crew); });
  for (Run& run : runs) run.row->length += run.count;
}

}  // namespace dialogpt
