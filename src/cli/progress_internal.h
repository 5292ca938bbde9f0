// A pipeline run in the terminal: one line a step, and what the run ended with.
#pragma once
#include "cli/command_internal.h"
#include "pipeline/engine.h"

namespace slipway::cli {

// One line a step; on a terminal the running step's progress stands in a last line that is written
// over.
class Progress final : public pipeline::Observer {
 public:
  explicit Progress(bool quiet) : quiet_(quiet) {}
  void run_started(const pipeline::RunReport& run) override;
  void step_progress(const std::string& step, double fraction, std::string_view what) override;
  void step_retrying(const pipeline::StepReport& step, Duration in) override;
  void step_ended(const pipeline::StepReport& step) override;

 private:
  bool quiet_;
};

// Prints how it ended, as JSON when that is wanted; gives the exit code.
int show_outcome(const Globals& globals, const pipeline::RunReport& report);

// What `slipway run --server` sends.
struct RemoteRun {
  std::string server;  // http://host:port
  std::string file;
  std::map<std::string, std::string> params;
  std::string reason;
  std::string from;
  bool use_cache = true;
};
// Has a server run a pipeline and follows it to its end; stopping ctx cancels it there.
int run_on_server(const Globals& globals, const Context& ctx, const RemoteRun& run);

}  // namespace slipway::cli
