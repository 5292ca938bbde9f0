// One write-ahead file of the prediction log on the disk: opened with its torn end cut, appended to
// by the one writer, read by anyone up to what is committed.
#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "serving/wal_internal.h"

namespace slipway::serving {

class WalFile {
 public:
  struct Counts {  // of one stream's rows
    std::int64_t rows = 0;
    Time first = Time::max();
    Time last = Time::min();
  };
  struct Opened {
    std::shared_ptr<WalFile> file;
    std::int64_t torn_bytes = 0;
    std::int64_t damaged_bytes = 0;
  };

  static std::filesystem::path path_in(const std::filesystem::path& folder, std::int64_t number);
  static std::optional<std::int64_t> number_of(const std::filesystem::path& path);
  // A new, empty one.
  static Result<std::shared_ptr<WalFile>> create(const std::filesystem::path& folder,
                                                 std::int64_t number);
  // Reads it through; `repair` cuts what is behind the last sound record (kept aside when it is
  // more than one unfinished write).
  static Result<Opened> open(const std::filesystem::path& folder, std::int64_t number, bool repair);
  ~WalFile();
  WalFile(const WalFile&) = delete;
  WalFile& operator=(const WalFile&) = delete;

  std::int64_t number() const { return number_; }
  const std::filesystem::path& path() const { return path_; }
  std::int64_t bytes() const { return committed_.load(std::memory_order_acquire); }

  // The writer's side. Bytes of whole records; on an error the file is as before.
  Result<void> append(std::string_view records, bool durable);
  Result<void> sync();  // what was appended without `durable`

  // The committed bytes, mapped. Whole records, whose checksums the walk over them checks.
  class Mapping {
   public:
    Mapping(void* bytes, std::size_t size) : bytes_(bytes), size_(size) {}
    Mapping(Mapping&& other) noexcept
        : bytes_(std::exchange(other.bytes_, nullptr)), size_(other.size_) {}
    Mapping& operator=(Mapping&&) = delete;
    ~Mapping();
    std::string_view view() const { return {static_cast<const char*>(bytes_), size_}; }

   private:
    void* bytes_;
    std::size_t size_;
  };
  Result<Mapping> map() const;
  // One record's bytes, from its offset.
  Result<std::string> read_record(std::int64_t offset) const;

  // Below: guarded by the log's catalogue lock.
  std::map<std::uint32_t, wal::Stream> streams;
  std::map<std::uint32_t, Counts> counts;                   // by stream
  std::unordered_map<std::uint64_t, std::int64_t> offsets;  // hash of a primary id -> its record
  std::int64_t rows = 0;

  // Notes one batch that was written at `offset`.
  void note(const wal::BatchHead& head, std::int64_t offset,
            const std::vector<std::uint64_t>& hashes);

 private:
  WalFile(std::filesystem::path path, std::int64_t number, int fd)
      : path_(std::move(path)), number_(number), fd_(fd) {}
  Result<std::size_t> index(std::string_view bytes, bool& damaged);

  std::filesystem::path path_;
  std::int64_t number_;
  int fd_;
  std::atomic<std::int64_t> committed_{0};
};

}  // namespace slipway::serving
