// FileDigests over the database: a file is hashed again only when its size, inode or times changed.
#pragma once
#include <map>
#include <mutex>

#include "db/database.h"
#include "pipeline/step.h"

namespace slipway::pipeline {

// One per run or plan. Thread-safe.
class StoredDigests final : public FileDigests {
 public:
  StoredDigests(db::Database& db, const Clock& clock) : db_(db), clock_(clock) {}
  Result<std::string> of(const std::filesystem::path& path) override;
  // Remembers what was hashed. Losing it costs only time, so nobody waits for it.
  void save();

 private:
  struct Stamp {
    std::int64_t size = 0;
    std::int64_t inode = 0;
    std::int64_t modified = 0;  // nanoseconds
    std::int64_t changed = 0;
    bool operator==(const Stamp&) const = default;
  };
  struct Entry {
    Stamp stamp;
    std::string sha256;
  };
  static Result<Stamp> stamp_of(const std::filesystem::path& path);
  Result<std::string> of_file(const std::filesystem::path& path);
  Result<std::string> of_folder(const std::filesystem::path& path);

  db::Database& db_;
  const Clock& clock_;
  std::mutex mutex_;
  std::map<std::string, Entry> known_;
  std::map<std::string, Entry> fresh_;
};

}  // namespace slipway::pipeline
