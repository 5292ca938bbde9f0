#include "cli/child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/file.h"
#include "cli/command_internal.h"

extern char** environ;  // NOLINT(readability-identifier-naming): POSIX's name

namespace slipway::cli {
namespace {

constexpr int kPollMs = 50;
constexpr int kGraceMs = 10'000;

std::string last_lines(const std::filesystem::path& file, std::size_t bytes) {
  auto text = read_file(file);
  if (!text) return "";
  return text->size() <= bytes ? *text : "…" + text->substr(text->size() - bytes);
}

// Waits for the child; when the context ends, asks it to stop and at last kills it.
int wait_for(const Context& ctx, pid_t child) {
  int status = 0;
  int stopping_ms = -1;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (stopping_ms < 0 && ctx.cancelled()) {
      kill(child, SIGTERM);
      stopping_ms = 0;
    } else if (stopping_ms >= 0) {
      stopping_ms += kPollMs;
      if (stopping_ms > kGraceMs) kill(child, SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
  }
  return status;
}

// This process's, with the token in place of any credentials of its own: in the environment, where
// other users of the machine cannot read it, unlike in arguments.
std::vector<std::string> environment_with(const std::string& token) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (token.empty() || !text.starts_with("MLFLOW_TRACKING_")) variables.emplace_back(text);
  }
  if (!token.empty()) variables.push_back("MLFLOW_TRACKING_TOKEN=" + token);
  return variables;
}

}  // namespace

Result<Json> run_pipeline_job(const Context& ctx, const jobs::Job& job,
                              const std::filesystem::path& home, const std::string& server_url,
                              const std::string& token) {
  std::error_code problem;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (problem) return internal("this program cannot find itself: " + problem.message());
  const auto log_folder = home / "jobs";
  if (auto made = make_dirs(log_folder); !made) return made.error();
  const auto log_file = log_folder / (job.id + ".log");

  std::vector<std::string> arguments = {program.string(),
                                        "--home",
                                        home.string(),
                                        "run",
                                        job.payload.value("file", ""),
                                        "--json",
                                        "--reason",
                                        job.payload.value("reason", "a job"),
                                        "--actor",
                                        job.payload.value("actor", "slipway"),
                                        "--job",
                                        job.id,
                                        "--tracking-uri",
                                        server_url};
  if (const std::string from = job.payload.value("from", ""); !from.empty())
    arguments.insert(arguments.end(), {"--from", from});
  if (!job.payload.value("use_cache", true)) arguments.emplace_back("--no-cache");
  const Json params = job.payload.value("params", Json::object());
  for (const auto& [name, value] : params.items()) {
    arguments.insert(
        arguments.end(),
        {"--param", name + "=" + (value.is_string() ? value.get<std::string>() : value.dump())});
  }
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  std::vector<std::string> variables = environment_with(token);
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log_file.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);  // this process blocks what the child has to hear
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  pid_t child = 0;
  const int spawned =
      posix_spawn(&child, program.c_str(), &actions, &attributes, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (spawned != 0) return errno_error(spawned, "cannot start", program);

  const int status = wait_for(ctx, child);
  if (auto wanted = ctx.check(); !wanted) return wanted.error();
  const int exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (exit == 0 || exit == kExitNo) return Json{{"passed", exit == 0}, {"log", log_file.string()}};
  const Error error = internal("the pipeline ended with exit code " + std::to_string(exit) + ": " +
                               last_lines(log_file, 600));
  return exit == 2 || exit == 3 ? Error{Code::invalid_argument, error.message} : error;
}

}  // namespace slipway::cli
