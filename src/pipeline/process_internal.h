// Child processes that cannot outlive us: each runs in a process group of its own, which is
// terminated on a timeout or a stop, cleaned up when the child ends, and killed by a guardian (a
// small shell in a session of its own) when this process dies, however it dies.
#pragma once
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/result.h"

namespace slipway::pipeline {

// Thread-safe. Started with the first process.
class Guardian {
 public:
  Guardian() = default;
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;
  ~Guardian();  // no processes may be left

  // Its input. A child writes "+ <its pid>" there before it does anything else.
  Result<int> channel();
  void forget(int group);  // the group has ended

 private:
  Result<void> start();

  std::mutex mutex_;
  int write_fd_ = -1;
  int pid_ = -1;
};

struct ProcessSpec {
  std::string shell;                     // by /bin/sh; else
  std::vector<std::string> argv;         // found in PATH
  std::vector<std::string> environment;  // "NAME=value", all of it
  std::filesystem::path workdir;
  int output_fd = -1;  // stdout and stderr
};

struct ProcessEnd {
  int exit_code = 0;
  int signal = 0;  // not 0: killed by it
};

// Waits until it ended. When ctx says stop or its deadline passes, the group gets TERM, and KILL
// after `grace`; then ctx's error is returned.
Result<ProcessEnd> run_process(const Context& ctx, const ProcessSpec& spec, Duration grace,
                               Guardian& guardian);

}  // namespace slipway::pipeline
