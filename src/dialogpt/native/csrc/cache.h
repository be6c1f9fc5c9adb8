// What rows have read: keys and values in pages of 16 positions, which rows share.
//
// A page holds 16 positions of all layers and heads, as halves:
//
//     [layer][head]: keys (head width, 16), then values (16, head width padded to 16)
//
// A row is a list of pages and a length. Rows that branch off another one (hypotheses, beams, what a conversation keeps)
// have its pages in their lists; only a page that is not full yet is copied, by whoever writes to it first. Positions
// count from a row's own beginning, so that rows of any lengths stand in one batch without padding.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "kernels.h"

namespace dialogpt {

// Gives out pages, and keeps those that come back for the next. Outlives its pages by being shared with them.
class PageStore : public std::enable_shared_from_this<PageStore> {
 public:
  explicit PageStore(const Shape& shape);

  std::shared_ptr<Half[]> take();
  size_t page_bytes() const { return page_bytes_; }

  // Where a layer's head begins in a page, in halves.
  int64_t offset(int layer, int head) const { return (static_cast<int64_t>(layer) * heads_ + head) * part_; }

 private:
  void give_back(Half* page);

  const int heads_;
  const int64_t part_;  // halves of one layer's head
  const size_t page_bytes_;
  std::mutex hold_;
  std::vector<Half*> free_;
  std::vector<std::shared_ptr<void>> slabs_;
};

struct Row {
  std::vector<std::shared_ptr<Half[]>> pages;
  int length = 0;

  // Forget what stands at `to` and after it.
  void cut(int to);

  // Make sure that `count` more positions can be written: on pages that no other row has.
  void prepare(int count, PageStore& store);
};

struct Cache {
  std::shared_ptr<PageStore> store;
  std::vector<Row> rows;
};

}  // namespace dialogpt
