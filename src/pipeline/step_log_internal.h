// A step's log file, made with its first line.
#pragma once
#include <mutex>

#include "pipeline/step.h"

namespace slipway::pipeline {

// Thread-safe.
class FileLog final : public StepLog {
 public:
  explicit FileLog(std::filesystem::path path) : path_(std::move(path)) {}
  FileLog(const FileLog&) = delete;
  FileLog& operator=(const FileLog&) = delete;
  ~FileLog() override;

  void line(std::string_view text) override;
  std::filesystem::path file() const override;
  bool used() const;

 private:
  int descriptor() const;  // under mutex_

  std::filesystem::path path_;
  mutable std::mutex mutex_;
  mutable int fd_ = -1;
};

}  // namespace slipway::pipeline
