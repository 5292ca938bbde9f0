// What local and remote imports share in the terminal.
#pragma once
#include <string>

#include "cli/command_internal.h"
#include "transfer/mlflow_import.h"

namespace slipway::cli {

// One line on standard error that is written over, on a terminal only.
class ImportLine {
 public:
  void show(const transfer::ImportProgress& at);
  void clear();

 private:
  bool shown_ = false;
};

std::string environment_value(const char* name);  // "" when it is not set
std::string size_text(std::int64_t bytes);        // "12.3 MB"

// The table of counts and the problems; the exit code.
int show_import(const Globals& globals, const transfer::ImportReport& report);

// Has a server run the import and follows it to its end; stopping ctx cancels it there. The
// server's token is in SLIPWAY_TOKEN.
int import_on_server(const Globals& globals, const Context& ctx, const std::string& server,
                     const transfer::ImportOptions& options);

}  // namespace slipway::cli
