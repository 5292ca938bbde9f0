// Workers that misbehave, with scripts in place of the real one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/file.h"
#include "models/pyfunc_worker.h"
#include "models/worker_process_internal.h"
#include "support/support.h"

namespace slipway::models {
namespace {

using std::chrono::milliseconds;
using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::HasSubstr;

WorkerOptions options() { return {.python = "/usr/bin/python3", .memory_mb = 1024}; }

// Answers hello, then runs `body` with `connection` and `send` at hand.
std::string script(const std::string& body) {
  return R"(
import json, os, socket, struct, sys, time
connection = socket.socket(fileno=3)
def receive():
    head, payload = struct.unpack("<II", connection.recv(8, socket.MSG_WAITALL))
    message = json.loads(connection.recv(head, socket.MSG_WAITALL))
    return message, connection.recv(payload, socket.MSG_WAITALL) if payload else b""
def send(message, payload=b""):
    text = json.dumps(message).encode()
    connection.sendall(struct.pack("<II", len(text), len(payload)) + text + payload)
receive()
send({"ok": True, "version": 1})
)" + body;
}

Result<WorkerMessage> ask_once(const std::string& body, WorkerOptions given = options(),
                               milliseconds limit = milliseconds(5000)) {
  auto worker = WorkerProcess::start(given, script(body));
  EXPECT_TRUE(ok(worker));
  auto answer = worker->ask({{"op", "predict"}}, "abc", limit);
  const bool died = !answer && (answer.error().code == Code::unavailable ||
                                answer.error().code == Code::deadline_exceeded);
  EXPECT_EQ(worker->alive(), !died);
  return answer;
}

TEST(WorkerProcess, SpeaksTheProtocolOfTheRealScript) {
  auto worker = WorkerProcess::start(options(), kPyfuncWorker);
  ASSERT_TRUE(ok(worker));
  const auto unknown = worker->ask({{"op", "dance"}}, {}, milliseconds(5000));
  EXPECT_TRUE(failed_with(unknown, Code::failed_precondition));
  EXPECT_THAT(message_of(unknown), HasSubstr("unknown operation 'dance'"));
  EXPECT_TRUE(failed_with(worker->ask({{"op", "hello"}, {"version", 2}}, {}, milliseconds(5000)),
                          Code::failed_precondition));
  EXPECT_TRUE(ok(worker->ask({{"op", "hello"}, {"version", 1}}, {}, milliseconds(5000))));
}

TEST(WorkerProcess, ReturnsAnswersWithTheirBytes) {
  const auto answer = ask_once(
      "message, payload = receive()\nsend({'ok': True, 'n': 3}, payload * 200000)\nreceive()");
  ASSERT_TRUE(ok(answer));
  EXPECT_EQ(answer->head["n"], 3);
  EXPECT_EQ(answer->payload.size(), 600'000U);
}

TEST(WorkerProcess, EndsOneThatHangsAndAllItStarted) {
  auto worker = WorkerProcess::start(options(), script(R"(
import subprocess
child = subprocess.Popen(["/bin/sleep", "1000"])
receive()
send({"ok": True, "child": child.pid})
receive()
time.sleep(1000)
)"));
  ASSERT_TRUE(ok(worker));
  const auto child = worker->ask({{"op", "x"}}, {}, milliseconds(5000));
  ASSERT_TRUE(ok(child));
  const auto late = worker->ask({{"op", "x"}}, {}, milliseconds(200));
  EXPECT_TRUE(failed_with(late, Code::deadline_exceeded));
  EXPECT_FALSE(worker->alive());
  const pid_t pid = child->head["child"].get<pid_t>();
  bool gone = false;
  for (int i = 0; i < 200 && !gone; ++i) {
    const auto state = read_file(fmt::format("/proc/{}/stat", pid));
    gone = ::kill(pid, 0) != 0 || (state && state->find(") Z") != std::string::npos);
    if (!gone) std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_TRUE(gone);
}

TEST(WorkerProcess, SaysHowOneDied) {
  EXPECT_THAT(message_of(ask_once("receive()\nos._exit(7)")), HasSubstr("exit code 7"));
  EXPECT_THAT(message_of(ask_once("receive()\nos.kill(os.getpid(), 11)")), HasSubstr("signal 11"));
  EXPECT_TRUE(
      failed_with(ask_once("receive()\nconnection.close()\ntime.sleep(100)"), Code::unavailable));
}

TEST(WorkerProcess, LimitsTheMemoryOfOne) {
  WorkerOptions small = options();
  small.memory_mb = 256;
  const auto answer = ask_once(R"(
receive()
try:
    hoard = [bytearray(16 << 20) for _ in range(64)]
    send({"ok": True})
except MemoryError:
    hoard = None
    send({"ok": False, "error": "no memory", "memory": True})
receive()
)",
                               small);
  EXPECT_TRUE(failed_with(answer, Code::resource_exhausted));
}

TEST(WorkerProcess, BelievesNothingThatAWorkerSends) {
  for (const std::string body :
       {"receive()\nconnection.sendall(b'\\xff' * 8)\ntime.sleep(100)",
        "receive()\nconnection.sendall(struct.pack('<II', 3, 0) + b'{x}')\ntime.sleep(100)",
        "receive()\nsend([1, 2])\ntime.sleep(100)",
        "receive()\nsend({'ok': 'yes'})\ntime.sleep(100)",
        "receive()\nconnection.sendall(struct.pack('<II', 100, 0) + b'{')\nos._exit(0)"}) {
    SCOPED_TRACE(body);
    EXPECT_TRUE(failed_with(ask_once(body), Code::unavailable));
  }
}

TEST(WorkerProcess, GivesItNothingOfTheServersOwn) {
  setenv("SLIPWAY_TEST_SECRET", "hush", 1);
  const auto answer = ask_once(R"(
receive()
send({"ok": True, "secret": os.environ.get("SLIPWAY_TEST_SECRET", ""), "open": sorted(os.listdir("/proc/self/fd")),
      "home": os.environ["HOME"]})
receive()
)");
  unsetenv("SLIPWAY_TEST_SECRET");
  ASSERT_TRUE(ok(answer));
  EXPECT_EQ(answer->head["secret"], "");
  EXPECT_LE(answer->head["open"].size(), 5U);  // three standard ones, the socket, the listing
}

TEST(WorkerProcess, RefusesWhatIsNoInterpreter) {
  WorkerOptions none = options();
  none.python = "/nonexistent/python";
  EXPECT_TRUE(failed_with(WorkerProcess::start(none, script("")), Code::unavailable));
}

TEST(WorkerEnvironment, HasADigestAndIsComparedWithRequirements) {
  const test::Scratch scratch;
  const auto python = scratch / "bin" / "python";
  const auto packages = scratch.path() / "lib" / "python3.11" / "site-packages";
  ASSERT_TRUE(ok(make_dirs(packages / "Some_Lib-1.2.3.dist-info")));
  ASSERT_TRUE(ok(make_dirs(packages / "mlflow_skinny-3.0.0.dist-info")));
  ASSERT_TRUE(
      ok(write_file_atomic(packages / "Some_Lib-1.2.3.dist-info" / "RECORD", "a,sha256=x,1")));
  const auto before = environment_digest(python);
  ASSERT_TRUE(ok(before));
  ASSERT_TRUE(
      ok(write_file_atomic(packages / "Some_Lib-1.2.3.dist-info" / "RECORD", "a,sha256=y,1")));
  EXPECT_NE(*environment_digest(python), *before);
  EXPECT_TRUE(ok(check_requirements(python, "some-lib==1.2.3\nmlflow==3.0.0\n# note\nother>=3\n")));
  const auto wrong =
      check_requirements(python, "some.lib==1.3\nnumpy==2.0 ; python_version > '3'\n");
  EXPECT_TRUE(failed_with(wrong, Code::failed_precondition));
  EXPECT_THAT(message_of(wrong), HasSubstr("some.lib==1.3 (has 1.2.3), numpy==2.0 (missing)"));
  EXPECT_TRUE(failed_with(environment_digest("/usr/bin/python3"), Code::failed_precondition));
}

}  // namespace
}  // namespace slipway::models
