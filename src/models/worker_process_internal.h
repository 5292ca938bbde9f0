// A process that runs a model's Python, watched: limits on memory, files and time; killed with all
// its children when it hangs; its messages are bounded and checked. The protocol is told in
// pyfunc_worker.py. Not thread-safe: one question at a time.
#pragma once
#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "models/servable.h"

namespace slipway::models {

struct WorkerMessage {
  Json head;
  std::string payload;
};

class WorkerProcess {
 public:
  // Starts the interpreter on the script and says hello.
  static Result<WorkerProcess> start(const WorkerOptions& options, std::string_view script);
  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&& other) noexcept;
  ~WorkerProcess();  // kills it

  // deadline_exceeded: no answer in time, and it was killed. unavailable: it died, or what it sent
  // is no message, and it was killed. Other codes: the model's own answer; it goes on running.
  Result<WorkerMessage> ask(const Json& head, std::string_view payload,
                            std::chrono::milliseconds limit);
  bool alive() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  void kill();

 private:
  WorkerProcess(pid_t pid, int socket) : pid_(pid), socket_(socket) {}
  std::string how_it_ended();
  pid_t pid_ = -1;
  int socket_ = -1;
};

// SHA-256 over what is installed in the environment of an interpreter: the name and the RECORD of
// every distribution, which holds the digests of its files.
Result<std::string> environment_digest(const std::filesystem::path& python);
// Nothing when every "name==version" of a requirements.txt is installed there as it says;
// failed_precondition names those that are not.
Result<void> check_requirements(const std::filesystem::path& python, std::string_view requirements);

}  // namespace slipway::models
