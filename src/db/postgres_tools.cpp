#include "db/postgres_tools_internal.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace slipway::db {
namespace {

constexpr std::size_t kMostComplaint = 2'000;  // characters of standard error that are repeated

struct Actions {
  posix_spawn_file_actions_t actions;
  Actions() { posix_spawn_file_actions_init(&actions); }
  ~Actions() { posix_spawn_file_actions_destroy(&actions); }
};

// The environment with PGPASSWORD added, if there is one.
std::vector<std::string> environment_with(const std::string& password) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (password.empty() || std::strncmp(*entry, "PGPASSWORD=", 11) != 0)
      environment.emplace_back(*entry);
  }
  if (!password.empty()) environment.push_back("PGPASSWORD=" + password);
  return environment;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// Reads to the end of the pipe and closes it; keeps the last characters.
std::string drain(int fd) {
  std::string tail;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    tail.append(buffer, static_cast<std::size_t>(got));
    if (tail.size() > kMostComplaint) tail.erase(0, tail.size() - kMostComplaint);
  }
  ::close(fd);
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  return tail;
}

}  // namespace

Result<void> run_tool(const std::string& program, const std::vector<std::string>& arguments,
                      const std::string& password) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return internal("no pipe for " + program);
  Actions actions;
  posix_spawn_file_actions_addopen(&actions.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions.actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions.actions, ends[1], STDERR_FILENO);
  std::vector<std::string> words = {program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = environment_with(password);
  pid_t child = 0;
  const int failed = ::posix_spawnp(&child, program.c_str(), &actions.actions, nullptr,
                                    pointers(words).data(), pointers(environment).data());
  ::close(ends[1]);
  if (failed != 0) {
    ::close(ends[0]);
    return failed_precondition(program + " cannot be started (" + std::strerror(failed) +
                               "): install PostgreSQL's client programs (postgresql-client)");
  }
  const std::string complaint = drain(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return internal(program + " failed: " + (complaint.empty() ? "it gave no reason" : complaint));
}

Result<void> verify_dump(const std::filesystem::path& dump) {
  // To a script that nobody keeps: every block of the archive is read and unpacked.
  auto read = run_tool("pg_restore", {"--file=/dev/null", dump.string()}, "");
  if (read || read.error().code != Code::internal) return read;
  return data_loss("'" + dump.string() + "' is not a whole dump: " + read.error().message);
}

}  // namespace slipway::db
