// PostgreSQL's own programs, which write and read copies: pg_dump and pg_restore of
// postgresql-client. Each call starts one and waits for it.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace slipway::db {

// Runs the program as found in PATH. The password travels in its environment, where other users do
// not see it. failed_precondition when it is not installed; else the end of what it complained of.
Result<void> run_tool(const std::string& program, const std::vector<std::string>& arguments,
                      const std::string& password);

// Reads a dump to its end without a server.
Result<void> verify_dump(const std::filesystem::path& dump);

}  // namespace slipway::db
