#include "pipeline/process_internal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

namespace slipway::pipeline {
namespace {

constexpr int kSliceMillis = 50;  // how long a stop or a deadline may go unnoticed

// Reads "+ group" and "- group"; at the end of its input (we are gone) it kills the groups that are
// left.
constexpr const char* kGuardianScript = R"sh(
trap '' HUP INT TERM
groups=' '
while read -r verb group; do
  case $verb in
    +) groups="$groups$group " ;;
    -) groups="${groups%% $group *} ${groups#* $group }" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
)sh";

// Announces the group, so that there is no moment in which the guardian does not know it, and then
// becomes the program.
constexpr const char* kShellPrelude = R"(echo "+ $$" >&3; exec 3>&-; eval "$1")";
constexpr const char* kArgvPrelude = R"(echo "+ $$" >&3; exec 3>&-; exec "$@")";

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

class SpawnAttributes {
 public:
  explicit SpawnAttributes(short where) {
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(
        &attributes_, static_cast<short>(where | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  posix_spawnattr_t* get() { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

// For exec; valid while `texts` is.
std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const auto& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

Result<pid_t> spawn(const ProcessSpec& spec, int guardian_fd) {
  FileActions actions;
  posix_spawn_file_actions_addopen(actions.get(), 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(actions.get(), spec.output_fd, 1);
  posix_spawn_file_actions_adddup2(actions.get(), spec.output_fd, 2);
  posix_spawn_file_actions_adddup2(actions.get(), guardian_fd, 3);
  posix_spawn_file_actions_addclosefrom_np(actions.get(), 4);
  posix_spawn_file_actions_addchdir_np(actions.get(), spec.workdir.c_str());
  SpawnAttributes attributes(POSIX_SPAWN_SETPGROUP);

  std::vector<std::string> argv = {"sh", "-c", spec.shell.empty() ? kArgvPrelude : kShellPrelude,
                                   "sh"};
  if (spec.shell.empty()) {
    argv.insert(argv.end(), spec.argv.begin(), spec.argv.end());
  } else {
    argv.push_back(spec.shell);
  }
  const auto arguments = pointers(argv);
  const auto environment = pointers(spec.environment);
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, "/bin/sh", actions.get(), attributes.get(), arguments.data(),
                                 environment.data());
  if (failed != 0) return errno_error(failed, "cannot start a command in", spec.workdir);
  return pid;
}

// A descriptor that becomes readable when the process ends, or -1 on kernels without it.
int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

// True when the process has ended (it stays to be reaped); waits at most a slice.
bool wait_slice(pid_t pid, int pidfd) {
  pollfd waited{.fd = pidfd, .events = POLLIN, .revents = 0};  // fd -1: just waits
  ::poll(&waited, 1, pidfd >= 0 ? kSliceMillis : 2);
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid;
}

ProcessEnd reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return {.exit_code = -1, .signal = WTERMSIG(status)};
  return {.exit_code = WEXITSTATUS(status), .signal = 0};
}

void terminate(pid_t group, int pidfd, Duration grace) {
  ::kill(-group, SIGTERM);
  bool leader_reaped = false;
  for (Duration waited{0}; waited < grace; waited += std::chrono::milliseconds{kSliceMillis}) {
    if (!leader_reaped) {
      if (!wait_slice(group, pidfd)) continue;
      reap(group);
      leader_reaped = true;
    } else {
      ::poll(nullptr, 0, kSliceMillis);
    }
    if (::kill(-group, 0) != 0) return;  // nobody is left
  }
  ::kill(-group, SIGKILL);
  if (!leader_reaped) reap(group);
}

}  // namespace

Guardian::~Guardian() {
  if (write_fd_ < 0) return;
  ::close(write_fd_);
  reap(pid_);
}

Result<int> Guardian::channel() {
  const std::scoped_lock lock(mutex_);
  if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) {  // somebody killed it
    ::close(write_fd_);
    pid_ = write_fd_ = -1;
  }
  if (pid_ < 0) {
    if (const auto started = start(); !started) return started.error();
  }
  return write_fd_;
}

Result<void> Guardian::start() {
  int ends[2];  // sockets: unlike a pipe, they can be written without SIGPIPE
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return errno_error(errno, "cannot make sockets for", "the guardian of commands");
  }
  FileActions actions;
  posix_spawn_file_actions_adddup2(actions.get(), ends[0], 0);
  posix_spawn_file_actions_addopen(actions.get(), 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(actions.get(), 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(actions.get(), 3);
  posix_spawn_file_actions_addchdir_np(actions.get(), "/");
  SpawnAttributes attributes(POSIX_SPAWN_SETSID);
  const std::vector<std::string> argv = {"sh", "-c", kGuardianScript};
  const auto arguments = pointers(argv);
  char* environment[] = {nullptr};
  const int failed =
      posix_spawn(&pid_, "/bin/sh", actions.get(), attributes.get(), arguments.data(), environment);
  ::close(ends[0]);
  if (failed != 0) {
    ::close(ends[1]);
    pid_ = -1;
    return errno_error(failed, "cannot start", "/bin/sh");
  }
  write_fd_ = ends[1];
  return {};
}

void Guardian::forget(int group) {
  const std::scoped_lock lock(mutex_);
  const std::string line = fmt::format("- {}\n", group);
  // A guardian that is gone has nothing to forget.
  if (write_fd_ >= 0) ::send(write_fd_, line.data(), line.size(), MSG_NOSIGNAL);
}

Result<ProcessEnd> run_process(const Context& ctx, const ProcessSpec& spec, Duration grace,
                               Guardian& guardian) {
  const auto channel = guardian.channel();
  if (!channel) return channel.error();
  const auto started = spawn(spec, *channel);
  if (!started) return started.error();
  const pid_t pid = *started;
  const int pidfd = open_pidfd(pid);

  Result<void> wanted;
  bool ended = false;
  while (!ended && (wanted = ctx.check())) ended = wait_slice(pid, pidfd);

  ProcessEnd end;
  if (ended) {
    ::kill(-pid,
           SIGKILL);  // what it left behind; the unreaped leader keeps the group's number ours
    end = reap(pid);
  } else {
    terminate(pid, pidfd, grace);
  }
  if (pidfd >= 0) ::close(pidfd);
  guardian.forget(pid);
  if (!ended) return wanted.error();
  return end;
}

}  // namespace slipway::pipeline
