#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "pipeline/step_log_internal.h"

namespace slipway::pipeline {

FileLog::~FileLog() {
  if (fd_ >= 0) ::close(fd_);
}

int FileLog::descriptor() const {
  if (fd_ < 0) fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  return fd_;
}

void FileLog::line(std::string_view text) {
  const std::string whole = std::string(text) + "\n";
  const std::scoped_lock lock(mutex_);
  const int fd = descriptor();
  // One write a line, so that lines of the step and of its commands do not mix.
  if (fd < 0 || ::write(fd, whole.data(), whole.size()) < 0) {
    log::warn("cannot write a step's log", {{"file", path_.string()}, {"errno", errno}});
  }
}

std::filesystem::path FileLog::file() const {
  const std::scoped_lock lock(mutex_);
  descriptor();
  return path_;
}

bool FileLog::used() const {
  const std::scoped_lock lock(mutex_);
  return fd_ >= 0;
}

}  // namespace slipway::pipeline
