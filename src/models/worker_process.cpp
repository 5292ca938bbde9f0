#include "models/worker_process_internal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"

namespace slipway::models {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::uint32_t kMostHead = 1 << 20;
constexpr std::uint32_t kMostPayload = 1U << 30;
constexpr int kWorkerSocket = 3;
constexpr rlim_t kMostFileBytes = rlim_t{256} << 20;
constexpr rlim_t kMostOpenFiles = 256;
constexpr std::chrono::milliseconds kHelloLimit{20'000};

// What the child does between fork and exec: async-signal-safe calls only.
[[noreturn]] void become_worker(int socket, char* const* arguments, char* const* environment,
                                rlim_t memory, const char* folder) {
  setsid();
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const auto limit = [](auto resource, rlim_t value) {
    const rlimit both{value, value};
    setrlimit(resource, &both);
  };
  limit(RLIMIT_AS, memory);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, kMostFileBytes);
  limit(RLIMIT_NOFILE, kMostOpenFiles);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, 0);
  dup2(nothing, 1);
  dup2(nothing, 2);
  dup2(socket, kWorkerSocket);
  close_range(kWorkerSocket + 1, ~0U, 0);
  if (chdir(folder) != 0) _exit(126);
  execve(arguments[0], arguments, environment);
  _exit(127);
}

// Waits until the socket is readable or writable. False: the time is over.
bool wait_for(int socket, short what, SteadyClock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
    if (left.count() <= 0) return false;
    pollfd entry{socket, what, 0};
    const int ready =
        poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return true;  // the next read or write tells what is wrong
  }
}

enum class Transfer { done, late, broken };

Transfer send_all(int socket, std::string_view bytes, SteadyClock::time_point deadline) {
  while (!bytes.empty()) {
    if (!wait_for(socket, POLLOUT, deadline)) return Transfer::late;
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return Transfer::broken;
    if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return Transfer::done;
}

Transfer receive_all(int socket, std::span<char> into, SteadyClock::time_point deadline) {
  while (!into.empty()) {
    if (!wait_for(socket, POLLIN, deadline)) return Transfer::late;
    const ssize_t got = recv(socket, into.data(), into.size(), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return Transfer::broken;
    if (got > 0) into = into.subspan(static_cast<std::size_t>(got));
  }
  return Transfer::done;
}

std::string lengths_of(std::size_t head, std::size_t payload) {
  const std::uint32_t lengths[] = {static_cast<std::uint32_t>(head),
                                   static_cast<std::uint32_t>(payload)};
  return {reinterpret_cast<const char*>(lengths), sizeof(lengths)};
}

}  // namespace

WorkerProcess::WorkerProcess(WorkerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), socket_(std::exchange(other.socket_, -1)) {}

WorkerProcess& WorkerProcess::operator=(WorkerProcess&& other) noexcept {
  kill();
  pid_ = std::exchange(other.pid_, -1);
  socket_ = std::exchange(other.socket_, -1);
  return *this;
}

WorkerProcess::~WorkerProcess() { kill(); }

void WorkerProcess::kill() {
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);  // its session: with all it started
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (socket_ >= 0) close(socket_);
  pid_ = -1;
  socket_ = -1;
}

std::string WorkerProcess::how_it_ended() {
  if (pid_ <= 0) return "it is not running";
  // Its socket is closed: it has ended, or ends with the kill.
  siginfo_t info{};
  for (int i = 0; i < 50 && info.si_pid == 0; ++i) {
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    if (info.si_pid == 0) poll(nullptr, 0, 2);
  }
  if (info.si_pid == 0) return "it closed its connection";
  if (info.si_code == CLD_EXITED) return fmt::format("it ended with exit code {}", info.si_status);
  return fmt::format("signal {} ended it", info.si_status);
}

Result<WorkerProcess> WorkerProcess::start(const WorkerOptions& options, std::string_view script) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
    return errno_error(errno, "connecting a worker", "socketpair");
  std::string program = options.python.string();
  std::string code(script);
  std::string isolated = "-I";
  std::string unbuffered = "-u";
  std::string command = "-c";
  char* arguments[] = {program.data(), isolated.data(), unbuffered.data(),
                       command.data(), code.data(),     nullptr};
  // Nothing of the server's own environment: no secrets, no other package folders.
  std::string path = "PATH=/usr/bin:/bin";
  std::string home = "HOME=/nonexistent";
  std::string locale = "LANG=C.UTF-8";
  std::string threads = "OMP_NUM_THREADS=1";
  std::string blas = "OPENBLAS_NUM_THREADS=1";

  char* environment[] = {path.data(),    home.data(), locale.data(),
                         threads.data(), blas.data(), nullptr};
  const auto memory = static_cast<rlim_t>(options.memory_mb) << 20;
  const pid_t pid = fork();
  if (pid < 0) {
    const int number = errno;
    close(sockets[0]);
    close(sockets[1]);
    return errno_error(number, "starting a worker", options.python);
  }
  if (pid == 0) become_worker(sockets[1], arguments, environment, memory, "/");
  close(sockets[1]);
  WorkerProcess worker(pid, sockets[0]);
  auto hello = worker.ask({{"op", "hello"}, {"version", 1}}, {}, kHelloLimit);
  if (!hello) return hello.error().at(fmt::format("the worker '{}'", options.python.string()));
  return worker;
}

Result<WorkerMessage> WorkerProcess::ask(const Json& head, std::string_view payload,
                                         std::chrono::milliseconds limit) {
  if (!alive()) return unavailable("the worker is not running");
  const auto deadline = SteadyClock::now() + limit;
  const std::string text = head.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kMostHead || payload.size() > kMostPayload)
    return resource_exhausted("the request is too large for a worker");
  const auto failed = [&](Transfer how) -> Error {
    const Error error =
        how == Transfer::late
            ? deadline_exceeded(fmt::format("the model's worker gave no answer within {} ms and "
                                            "was ended",
                                            limit.count()))
            : unavailable("the model's worker is gone: " + how_it_ended());
    kill();
    return error;
  };
  const std::string sizes = lengths_of(text.size(), payload.size());
  for (const std::string_view part : {std::string_view(sizes), std::string_view(text), payload}) {
    if (const auto sent = send_all(socket_, part, deadline); sent != Transfer::done)
      return failed(sent);
  }
  std::uint32_t lengths[2];
  const std::span<char> raw(reinterpret_cast<char*>(lengths), sizeof(lengths));
  if (const auto got = receive_all(socket_, raw, deadline); got != Transfer::done)
    return failed(got);
  if (lengths[0] > kMostHead || lengths[1] > kMostPayload) {
    kill();
    return unavailable("the model's worker sent a message that is too large, and was ended");
  }
  WorkerMessage message;
  std::string answer(lengths[0], '\0');
  message.payload.resize(lengths[1]);
  for (const std::span<char> part : {std::span<char>(answer), std::span<char>(message.payload)}) {
    if (const auto got = receive_all(socket_, part, deadline); got != Transfer::done)
      return failed(got);
  }
  auto json = parse_json(answer, "a worker's answer");
  if (!json || !json->is_object() || !json->contains("ok") || !(*json)["ok"].is_boolean()) {
    kill();
    return unavailable("the model's worker sent what is no answer, and was ended");
  }
  message.head = std::move(*json);
  if (message.head["ok"] == true) return message;
  const std::string why = message.head.value("error", std::string("it does not say why"));
  if (message.head.contains("memory")) return resource_exhausted("the model: " + why);
  return failed_precondition("the model: " + why);
}

// ---- what is installed

namespace {

Result<std::filesystem::path> site_packages(const std::filesystem::path& python) {
  const auto lib = python.parent_path().parent_path() / "lib";
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(lib, error)) {
    const auto packages = entry.path() / "site-packages";
    if (entry.path().filename().string().starts_with("python3") &&
        std::filesystem::is_directory(packages, error))
      return packages;
  }
  return failed_precondition(fmt::format(
      "'{}' is not the interpreter of a virtual environment: no lib/python3*/site-packages beside "
      "its folder",
      python.string()));
}

// PEP 503: what counts as one name.
std::string normal_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '-' || c == '_' || c == '.') {
      if (!out.ends_with('-')) out.push_back('-');
    } else {
      out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
    }
  }
  return out;
}

// name -> version, of the folders NAME-VERSION.dist-info
Result<std::map<std::string, std::string>> installed_in(const std::filesystem::path& python) {
  const auto packages = site_packages(python);
  if (!packages) return packages.error();
  std::map<std::string, std::string> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(*packages, error)) {
    const std::string folder = entry.path().filename().string();
    const std::size_t dash =
        folder.rfind('-', folder.size() - std::min<std::size_t>(folder.size(), 11));
    if (!folder.ends_with(".dist-info")) continue;
    const std::string whole = folder.substr(0, folder.size() - 10);
    const std::size_t cut = whole.rfind('-');
    if (dash == std::string::npos || cut == std::string::npos) continue;
    found[normal_name(whole.substr(0, cut))] = whole.substr(cut + 1);
  }
  return found;
}

}  // namespace

Result<std::string> environment_digest(const std::filesystem::path& python) {
  const auto packages = site_packages(python);
  if (!packages) return packages.error();
  std::map<std::string, std::string> records;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(*packages, error)) {
    const auto record = entry.path() / "RECORD";
    if (!std::filesystem::exists(record, error)) continue;
    const auto digest = sha256_file_hex(record);
    if (!digest) return digest.error();
    records[entry.path().filename().string()] = *digest;
  }
  return sha256_hex(canonical(Json(records)));
}

Result<void> check_requirements(const std::filesystem::path& python,
                                std::string_view requirements) {
  const auto installed = installed_in(python);
  if (!installed) return installed.error();
  std::vector<std::string> wrong;
  while (!requirements.empty()) {
    const std::size_t end = std::min(requirements.find('\n'), requirements.size());
    std::string_view line = requirements.substr(0, end);
    requirements.remove_prefix(std::min(end + 1, requirements.size()));
    line = line.substr(0, line.find_first_of("#;"));
    const std::size_t equals = line.find("==");
    if (equals == std::string_view::npos) continue;
    std::string_view name = line.substr(0, line.find_first_of("[= \t"));
    std::string_view version = line.substr(equals + 2);
    while (!version.empty() && std::isspace(static_cast<unsigned char>(version.back())) != 0)
      version.remove_suffix(1);
    const auto found = installed->find(normal_name(name));
    if (found != installed->end() && found->second == version) continue;
    // MLflow's client and its smaller twin are the same code at the same version.
    if (const auto skinny = installed->find("mlflow-skinny");
        normal_name(name) == "mlflow" && skinny != installed->end() && skinny->second == version)
      continue;
    wrong.push_back(fmt::format("{}=={} ({})", name, version,
                                found == installed->end() ? "missing" : "has " + found->second));
  }
  if (wrong.empty()) return {};
  std::string list;
  for (std::size_t i = 0; i < std::min<std::size_t>(wrong.size(), 8); ++i)
    list += (list.empty() ? "" : ", ") + wrong[i];
  if (wrong.size() > 8) list += fmt::format(" and {} more", wrong.size() - 8);
  return failed_precondition("the workers' environment is not the one the model was logged with: " +
                             list + ". Install its requirements.txt there.");
}

}  // namespace slipway::models
