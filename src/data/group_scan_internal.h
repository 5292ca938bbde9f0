// Walks chosen columns of Parquet files, a row group to a thread at a time, in batches that fit in
// caches. Memory: one batch and one row group's compressed pages per thread. Private to this
// folder.
//   auto scan = GroupScan::open(files);
//   auto done = scan->run(ctx, {0, 3}, threads, [&](std::size_t worker, const GroupBatch& batch)
//   …);
// A row group's batches come in order, all from one thread; groups come in any order. `open` and
// `run` may be called from any thread; a GroupScan does not change.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "base/context.h"
#include "data/table.h"

namespace slipway::data {

// Values as they are, or, of texts that the file keeps by dictionary, codes into `view`.
struct GroupColumn {
  ColumnView view;
  const std::int32_t* codes = nullptr;  // [rows]; of nulls undefined
  const std::uint8_t* validity = nullptr;
  std::int64_t offset = 0;  // of row 0 in `validity`
  bool coded() const { return codes != nullptr; }
  bool is_null(std::int64_t row) const {
    if (!coded()) return view.is_null(row);
    if (validity == nullptr) return false;
    const std::int64_t i = offset + row;
    return ((validity[i >> 3] >> (i & 7)) & 1) == 0;
  }
};

struct GroupBatch {
  std::size_t group = 0;  // over all files, in order
  std::int64_t rows = 0;
  std::vector<GroupColumn> columns;  // as asked for
};

class GroupScan {
 public:
  using Visit = std::function<void(std::size_t worker, const GroupBatch&)>;
  using Finished = std::function<void(std::size_t worker, std::size_t group)>;

  static Result<GroupScan> open(const std::vector<std::filesystem::path>& files);
  GroupScan(GroupScan&&) noexcept;
  GroupScan& operator=(GroupScan&&) noexcept;
  ~GroupScan();
  const Schema& schema() const;
  std::int64_t rows() const;
  std::size_t groups() const;
  // How many workers `run` uses at most.
  static std::size_t workers(int threads);
  // `finished` is called once for each group, after its last batch.
  Result<void> run(const Context& ctx, const std::vector<std::size_t>& columns, int threads,
                   const Visit& visit, const Finished& finished = {}) const;

 private:
  struct Impl;
  explicit GroupScan(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::data
