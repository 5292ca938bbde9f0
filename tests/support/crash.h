// Runs one test of this very program again in a child that a fault point kills (see base/fault.h).
// The test asks crash_home() first: in the child it names the folder to work in, in the parent it
// is empty.
//   TEST(Store, SurvivesAKill) {
//     if (!crash_home().empty()) return work(crash_home());        // the child, until it is killed
//     EXPECT_TRUE(killed(run_with_fault("Store.SurvivesAKill", "blob.after_rename:2",
//     scratch.path()))); …                                                            // look at
//     what is left
//   }
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace slipway::test {

#ifdef SLIPWAY_FAULT_POINTS
inline constexpr bool kHasFaultPoints = true;
#else
inline constexpr bool kHasFaultPoints = false;
#endif

inline std::filesystem::path crash_home() {
  const char* home =
      std::getenv("SLIPWAY_TEST_CRASH_HOME");  // NOLINT(concurrency-mt-unsafe): nobody sets it here
  return home == nullptr ? "" : home;
}

// The child's wait status. `fault` as in SLIPWAY_FAULT; empty: none.
inline int run_with_fault(const std::string& test, const std::string& fault,
                          const std::filesystem::path& home) {
  const std::vector<std::string> settings = {"SLIPWAY_FAULT=" + fault,
                                             "SLIPWAY_TEST_CRASH_HOME=" + home.string()};
  const std::string filter = "--gtest_filter=" + test;
  const std::string quiet = "--gtest_brief=1";
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    // Its own results file, or it would overwrite the parent's.
    if (!std::string(*entry).starts_with("GTEST_OUTPUT=")) environment.push_back(*entry);
  }
  for (const std::string& setting : settings)
    environment.push_back(const_cast<char*>(setting.c_str()));
  environment.push_back(nullptr);
  char* arguments[] = {const_cast<char*>("/proc/self/exe"), const_cast<char*>(filter.c_str()),
                       const_cast<char*>(quiet.c_str()), nullptr};
  const pid_t child = ::fork();
  if (child == 0) {
    ::execve("/proc/self/exe", arguments, environment.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

inline bool killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
inline bool finished(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

// Notes in the child what was acknowledged; read back by the parent.
inline void note(const std::filesystem::path& home, const std::string& line) {
  std::ofstream(home / "acknowledged", std::ios::app) << line << "\n";
}
inline std::vector<std::string> notes(const std::filesystem::path& home) {
  std::vector<std::string> lines;
  std::ifstream in(home / "acknowledged");
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace slipway::test
