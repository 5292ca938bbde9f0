// Bodies that are not held whole: uploads that are handed on, answers that are read while sent.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <zlib.h>

#include <condition_variable>
#include <thread>

#include "base/guarded.h"
#include "base/json.h"
#include "base/log.h"
#include "base/rng.h"
#include "server/content.h"
#include "server/encoding_internal.h"
#include "server/server.h"
#include "support/raw_http.h"
#include "support/support.h"

namespace slipway::server {
namespace {

using namespace std::chrono_literals;
using test::ok;
using test::RawClient;

constexpr std::uint64_t kUploadLimit = 64ULL * 1024 * 1024;

Response error_form(const Error& error) {
  return json_text(error.code == Code::internal ? 500 : 400, Json{{"error", error.message}}.dump());
}

std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return bytes;
}

std::string gzip(const std::string& plain) {
  z_stream stream{};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, static_cast<uLong>(plain.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

// A door that writes wait in front of.
class Door {
 public:
  void shut() { set(false); }
  void open() { set(true); }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }

 private:
  void set(bool open) {
    const std::scoped_lock lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
};

// What became of the uploads.
struct Ledger {
  std::atomic<int> begun{0};
  std::atomic<int> finished{0};
  std::atomic<int> gone{0};
  std::atomic<std::size_t> bytes{0};
  Door door;
};

class Recorder final : public Upload {
 public:
  Recorder(Ledger& ledger, std::size_t refuse_at) : ledger_(ledger), refuse_at_(refuse_at) {
    ++ledger_.begun;
  }
  ~Recorder() override { ++ledger_.gone; }
  std::optional<Response> write(std::string_view bytes) override {
    ledger_.door.pass();
    ledger_.bytes += bytes.size();
    body_ += bytes;
    if (body_.size() > refuse_at_) return json_text(507, "{\"error\": \"full\"}");
    return std::nullopt;
  }
  Response finish() override {
    ++ledger_.finished;
    return {.status = 200, .content_type = "text/plain", .body = std::move(body_)};
  }

 private:
  Ledger& ledger_;
  const std::size_t refuse_at_;
  std::string body_;
};

class TextBody final : public Body {
 public:
  TextBody(std::string text, std::size_t fails_at) : text_(std::move(text)), fails_at_(fails_at) {}
  std::uint64_t size() const override { return text_.size(); }
  Result<std::size_t> read(std::span<char> into) override {
    const std::size_t count = std::min(into.size(), text_.size() - at_);
    if (at_ + count > fails_at_) return data_loss("these bytes are damaged");
    text_.copy(into.data(), count, at_);
    at_ += count;
    return count;
  }

 private:
  const std::string text_;
  const std::size_t fails_at_;
  std::size_t at_ = 0;
};

constexpr std::size_t kNever = std::size_t{1} << 40;

class StreamTest : public testing::Test {
 protected:
  StreamTest() {
    log::set_level(log::Level::off);
    const auto add_upload = [&](const std::string& path, std::size_t refuse_at) {
      router_.add_upload(
          "PUT", path, Access::open, &error_form,
          [this, refuse_at](const Context&, const Request& request)
              -> std::variant<std::unique_ptr<Upload>, Response> {
            if (request.has_query("known")) return json_text(200, "\"known\"");
            if (request.has_query("throws")) throw std::runtime_error("secret");
            return std::make_unique<Recorder>(ledger_, refuse_at);
          },
          kUploadLimit);
    };
    add_upload("/upload", kNever);
    add_upload("/fills", 300'000);
    router_.add("POST", "/echo", Access::open, &error_form,
                [](const Context&, const Request& request) {
                  return Response{.content_type = "text/plain", .body = request.body};
                });
    router_.add_async(
        "POST", "/echo-async", Access::open, &error_form,
        [](const Context&, const std::shared_ptr<Request>& request, const Respond& respond) {
          respond({.content_type = "text/plain", .body = request->body});
        });
    router_.add(
        "POST", "/small", Access::open, &error_form,
        [](const Context&, const Request&) { return json_text(200, "{}"); }, 10);
    router_.add("GET", "/stream/{size}", Access::open, &error_form,
                [](const Context&, const Request& request) {
                  const auto size = std::stoul(std::string(request.param("size")));
                  const auto fails = request.query_value("fails");
                  return Response{
                      .content_type = "text/plain",
                      .stream = std::make_shared<TextBody>(
                          pattern(size), fails.empty() ? kNever : std::stoul(std::string(fails)))};
                });
    router_.add("GET", "/content", Access::open, &error_form,
                [this](const Context&, const Request& request) {
                  return content_answer(
                      request,
                      {.etag = "v1",
                       .size = 10,
                       .content_type = "text/plain",
                       .open = [this](std::uint64_t from,
                                      std::uint64_t count) -> Result<std::shared_ptr<Body>> {
                         ++opened_;
                         return std::make_shared<TextBody>(
                             std::string("0123456789").substr(from, count), kNever);
                       }},
                      &error_form);
                });
  }
  ~StreamTest() override {
    ledger_.door.open();
    server_.reset();
    log::set_level(log::Level::info);
  }

  void start(ServerOptions options = {}) {
    auto server = HttpServer::start(std::move(options), router_, clock_, ids_);
    ASSERT_TRUE(ok(server));
    server_ = std::move(*server);
  }
  RawClient client() { return RawClient(server_->port()); }
  static std::string put(std::string_view path, std::string_view more) {
    return fmt::format("PUT {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", path, more);
  }
  static void eventually(const std::function<bool()>& holds) {
    const auto until = std::chrono::steady_clock::now() + 20s;
    while (!holds() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    EXPECT_TRUE(holds());
  }

  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  Ledger ledger_;
  std::atomic<int> opened_{0};
  Router router_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(StreamTest, TakesUploadsWithALengthInChunksAndAfterExpect) {
  start();
  auto caller = client();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{262'144},
                                 std::size_t{262'145}, std::size_t{5'000'000}}) {
    SCOPED_TRACE(size);
    const std::string body = pattern(size);
    ASSERT_TRUE(caller.send(put("/upload", fmt::format("Content-Length: {}\r\n", size)) + body));
    EXPECT_EQ(caller.receive().body, body);
  }
  caller.send(put("/upload", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n");
  caller.send("A;x=y\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n");
  EXPECT_EQ(caller.receive().body, "abc0123456789");

  const std::string large = pattern(700'000);
  std::string chunks;
  for (std::size_t at = 0; at < large.size(); at += 70'000)
    chunks += "11170\r\n" + large.substr(at, 70'000) + "\r\n";  // 0x11170 = 70000
  ASSERT_TRUE(caller.send(put("/upload", "Transfer-Encoding: chunked\r\n") + chunks + "0\r\n\r\n"));
  EXPECT_EQ(caller.receive().body, large);

  caller.send(put("/upload", "Expect: 100-continue\r\nContent-Length: 2\r\n"));
  EXPECT_EQ(caller.receive().status, 100);
  caller.send("ok");
  EXPECT_EQ(caller.receive().body, "ok");
  eventually([&] { return ledger_.gone == ledger_.begun; });
  EXPECT_EQ(ledger_.finished, ledger_.begun);
  EXPECT_EQ(server_->stats().in_flight, 0);
}

TEST_F(StreamTest, RefusesUploadsOverTheRoutesLimitBeforeTakingThem) {
  start();
  auto by_length = client();
  by_length.send(put("/upload", "Expect: 100-continue\r\nContent-Length: 67108865\r\n"));
  EXPECT_EQ(by_length.receive().status, 413);
  EXPECT_TRUE(by_length.closed());
  EXPECT_EQ(ledger_.begun, 0);

  auto by_chunk = client();
  by_chunk.send(put("/upload", "Transfer-Encoding: chunked\r\n") + "4000001\r\n");
  EXPECT_EQ(by_chunk.receive().status, 413);
  eventually([&] { return ledger_.gone == ledger_.begun; });
  EXPECT_EQ(ledger_.finished, 0);

  auto buffered = client();
  EXPECT_EQ(buffered.post("/small", "0123456789").status, 200);
  EXPECT_EQ(buffered.post("/small", "0123456789a").status, 413);
}

TEST_F(StreamTest, WantsALength) {
  start();
  auto caller = client();
  caller.send(put("/upload", ""));
  EXPECT_EQ(caller.receive().status, 411);
}

TEST_F(StreamTest, ASlowDiskMakesTheCallerWait) {
  start();
  ledger_.door.shut();
  auto caller = client();
  constexpr std::size_t kWhole = 48'000'000;
  ASSERT_TRUE(caller.send(put("/upload", fmt::format("Content-Length: {}\r\n", kWhole))));
  const std::string body = pattern(kWhole);
  std::atomic<std::size_t> sent{0};
  std::jthread sending([&] {
    for (std::size_t at = 0; at < body.size(); at += 100'000) {
      if (!caller.send(std::string_view(body).substr(at, 100'000))) return;
      sent = std::min(at + 100'000, body.size());
    }
  });
  // Until nothing more goes in: what the kernel and two pieces hold.
  std::size_t before = 1;
  while (before != sent) {
    before = sent;
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_LT(sent, kWhole);
  EXPECT_EQ(ledger_.bytes, 0U);
  ledger_.door.open();
  sending.join();
  EXPECT_EQ(caller.receive().body, body);
}

TEST_F(StreamTest, NothingIsLeftOfAnUploadWhoseCallerGoesAway) {
  start();
  {
    auto gone = client();
    gone.send(put("/upload", "Content-Length: 1000000\r\n") + pattern(600'000));
    eventually([&] { return ledger_.bytes > 0; });
  }
  eventually([&] { return ledger_.gone == 1; });
  EXPECT_EQ(ledger_.finished, 0);
  eventually([&] { return server_->stats().in_flight == 0 && server_->stats().connections == 0; });
}

TEST_F(StreamTest, ASlowUploadIsAnswered408) {
  start({.body_timeout = 100ms});
  auto caller = client();
  caller.send(put("/upload", "Content-Length: 1000\r\n") + "abc");
  eventually([&] { return ledger_.begun == 1; });
  std::jthread time([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      clock_.advance(10ms);
      std::this_thread::sleep_for(1ms);
    }
  });
  EXPECT_EQ(caller.receive().status, 408);
  eventually([&] { return ledger_.gone == 1; });
  EXPECT_EQ(ledger_.finished, 0);
}

TEST_F(StreamTest, AnUploadMayBeAnsweredBeforeItsBody) {
  start();
  auto patient = client();
  patient.send(put("/upload?known", "Expect: 100-continue\r\nContent-Length: 5000000\r\n"));
  EXPECT_EQ(patient.receive().body, "\"known\"");  // and no 100 before it
  EXPECT_TRUE(patient.closed());

  auto eager = client();
  eager.send(put("/upload?known", "Content-Length: 3\r\n") + "abc");
  EXPECT_EQ(eager.receive().body, "\"known\"");
  EXPECT_EQ(ledger_.begun, 0);

  auto pushy = client();  // sends all the same, and still hears the answer
  ASSERT_TRUE(pushy.send(put("/upload?known", "Content-Length: 5000000\r\n") + pattern(5'000'000)));
  EXPECT_EQ(pushy.receive().body, "\"known\"");

  auto failing = client();
  failing.send(put("/upload?throws", "Content-Length: 3\r\n") + "abc");
  const auto failed = failing.receive();
  EXPECT_EQ(failed.status, 500);
  EXPECT_EQ(failed.body.find("secret"), std::string::npos);
}

TEST_F(StreamTest, AnUploadMayEndInItsMiddle) {
  start();
  auto caller = client();
  ASSERT_TRUE(caller.send(put("/fills", "Content-Length: 5000000\r\n") + pattern(5'000'000)));
  EXPECT_EQ(caller.receive().status, 507);
  EXPECT_TRUE(caller.closed());
  EXPECT_EQ(ledger_.gone, 1);
  EXPECT_EQ(ledger_.finished, 0);
}

TEST_F(StreamTest, PipelinedRequestsBehindAnUploadAreAnswered) {
  start();
  auto caller = client();
  const std::string body = pattern(400'000);
  ASSERT_TRUE(caller.send(put("/upload", "Content-Length: 400000\r\n") + body +
                          "GET /stream/3 HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_EQ(caller.receive().body, body);
  EXPECT_EQ(caller.receive().body, pattern(3));
}

TEST_F(StreamTest, StopWaitsForAnUploadUnderWay) {
  start();
  auto caller = client();
  caller.send(put("/upload", "Content-Length: 6\r\n") + "abc");
  eventually([&] { return ledger_.begun == 1; });
  std::jthread stopping([this] { server_->stop(); });
  std::this_thread::sleep_for(20ms);
  caller.send("def");
  EXPECT_EQ(caller.receive().body, "abcdef");
  EXPECT_TRUE(caller.closed());
}

TEST_F(StreamTest, SendsStreamedAnswers) {
  start();
  auto caller = client();
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{5}, std::size_t{16'385}, std::size_t{262'144},
        std::size_t{262'145}, std::size_t{6'000'000}}) {
    SCOPED_TRACE(size);
    const auto response = caller.get(fmt::format("/stream/{}", size));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.headers.at("content-length"), std::to_string(size));
    EXPECT_EQ(response.body, pattern(size));
  }
  caller.send("HEAD /stream/6000000 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const auto head = caller.receive(true);
  EXPECT_EQ(head.headers.at("content-length"), "6000000");
  EXPECT_EQ(caller.get("/stream/4").body, pattern(4));
}

TEST_F(StreamTest, AnAnswerThatCannotBeReadIsAnErrorOrCutOff) {
  start();
  auto first = client();
  EXPECT_EQ(first.get("/stream/1000?fails=10").status, 400);  // the error's own form
  EXPECT_EQ(first.get("/stream/4").body, pattern(4));

  auto later = client();
  const auto cut = later.get("/stream/3000000?fails=2900000");
  EXPECT_EQ(cut.status, 200);
  EXPECT_EQ(cut.headers.at("content-length"), "3000000");
  EXPECT_LT(cut.body.size(), 3'000'000U);
  EXPECT_TRUE(later.closed());
}

TEST_F(StreamTest, CallersThatLeaveInTheMiddleOfAnAnswerAreHarmless) {
  start();
  for (int i = 0; i < 20; ++i) {
    auto gone = client();
    gone.send("GET /stream/4000000 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  EXPECT_EQ(client().get("/stream/4000000").body.size(), 4'000'000U);
  eventually([&] { return server_->stats().connections == 0; });
}

TEST_F(StreamTest, UnpacksGzipBodies) {
  start({.max_body_bytes = 1'000'000});
  auto caller = client();
  const std::string packed = "Content-Encoding: gzip\r\n";
  const std::string text = pattern(200'000);
  for (const char* path : {"/echo", "/echo-async"}) {
    SCOPED_TRACE(path);
    EXPECT_EQ(caller.post(path, gzip(text), packed).body, text);
    EXPECT_EQ(caller.post(path, gzip("a") + gzip("b"), packed).body, "ab");
    EXPECT_EQ(caller.post(path, gzip(std::string(1'000'001, '\0')), packed).status, 413);
    EXPECT_EQ(caller.post(path, "not gzip", packed).status, 400);
    EXPECT_EQ(caller.post(path, gzip(text).substr(0, 1000), packed).status, 400);
    EXPECT_EQ(caller.post(path, "as it is", "Content-Encoding: identity\r\n").body, "as it is");
  }
  const auto other = caller.post("/echo", "x", "Content-Encoding: br\r\n");
  EXPECT_EQ(other.status, 415);
  EXPECT_EQ(other.headers.at("accept-encoding"), "gzip, deflate");
  caller.send(put("/upload", "Content-Encoding: gzip\r\nContent-Length: 1\r\n") + "x");
  EXPECT_EQ(caller.receive().status, 415);
  EXPECT_EQ(caller.post("/echo", "still here").body, "still here");
}

TEST_F(StreamTest, AnswersConditionsAndRanges) {
  start();
  auto caller = client();
  struct Row {
    std::string headers;
    int status;
    std::string body;
    std::string range;
  };
  const std::vector<Row> rows = {
      {"", 200, "0123456789", ""},
      {"Range: bytes=2-4\r\n", 206, "234", "bytes 2-4/10"},
      {"Range: bytes=7-\r\n", 206, "789", "bytes 7-9/10"},
      {"Range: bytes=-2\r\n", 206, "89", "bytes 8-9/10"},
      {"Range: bytes=10-\r\n", 416, "", "bytes */10"},
      {"Range: bytes=0-1,3-4\r\n", 200, "0123456789", ""},
      {"Range: bytes=2-4\r\nIf-Range: \"v1\"\r\n", 206, "234", "bytes 2-4/10"},
      {"Range: bytes=2-4\r\nIf-Range: \"v0\"\r\n", 200, "0123456789", ""},
      {"Range: bytes=2-4\r\nIf-Range: Mon, 01 Apr 2013 12:00:00 GMT\r\n", 200, "0123456789", ""},
      {"If-None-Match: \"v0\", W/\"v1\"\r\n", 304, "", ""},
      {"If-None-Match: \"v0\"\r\n", 200, "0123456789", ""},
      {"If-None-Match: *\r\n", 304, "", ""},
      {"If-Match: \"v0\"\r\n", 412, "", ""},
      {"If-Match: \"v1\"\r\nRange: bytes=0-0\r\n", 206, "0", "bytes 0-0/10"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.headers);
    caller.send("GET /content HTTP/1.1\r\nHost: localhost\r\n" + row.headers + "\r\n");
    const auto response = caller.receive();
    EXPECT_EQ(response.status, row.status);
    EXPECT_EQ(response.body, row.body);
    EXPECT_EQ(response.headers.at("etag"), "\"v1\"");
    const auto range = response.headers.find("content-range");
    EXPECT_EQ(range == response.headers.end() ? "" : range->second, row.range);
  }
  EXPECT_EQ(opened_, 10);  // what is not sent is not opened
  caller.send("HEAD /content HTTP/1.1\r\nHost: localhost\r\nRange: bytes=2-4\r\n\r\n");
  const auto head = caller.receive(true);
  EXPECT_EQ(head.status, 200);  // ranges are for GET
  EXPECT_EQ(head.headers.at("content-length"), "10");
  EXPECT_EQ(head.headers.at("accept-ranges"), "bytes");
}

TEST(Ranges, AreReadAsRfc9110Says) {
  using Parsed = std::variant<std::monostate, ByteRange, Unsatisfiable>;
  constexpr int kWhole = 0;
  constexpr int kPart = 1;
  constexpr int kNone = 2;
  struct Row {
    std::string header;
    std::uint64_t size;
    int kind;
    ByteRange part;
  };
  const std::vector<Row> rows = {
      {"", 10, kWhole, {}},
      {"bytes=0-9", 10, kPart, {0, 10}},
      {"bytes=0-99999999999999999999999", 10, kPart, {0, 10}},
      {"bytes=99999999999999999999999-", 10, kNone, {}},
      {"bytes=5-4", 10, kWhole, {}},
      {"bytes=-0", 10, kNone, {}},
      {"bytes=-99", 10, kPart, {0, 10}},
      {"bytes=-1", 0, kNone, {}},
      {"bytes=0-", 0, kNone, {}},
      {"bytes=-", 10, kWhole, {}},
      {"bytes=a-b", 10, kWhole, {}},
      {"bytes=1", 10, kWhole, {}},
      {"bytes=+1-2", 10, kWhole, {}},
      {"lines=1-2", 10, kWhole, {}},
      {" bytes= 1 - 2 ", 10, kPart, {1, 2}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.header);
    const Parsed parsed = parse_range(row.header, row.size);
    EXPECT_EQ(static_cast<int>(parsed.index()), row.kind);
    if (row.kind == kPart && parsed.index() == kPart) {
      EXPECT_EQ(std::get<ByteRange>(parsed), row.part);
    }
  }
}

// Whatever is sent, a range stays within the file, tags are compared without reading past an end,
// and no more is unpacked than was allowed.
TEST(Headers, AreReadSafelyWhateverTheySay) {
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    const auto text = [&](std::string_view alphabet, std::size_t most) {
      std::string made(rng.below(most + 1), ' ');
      for (char& c : made) c = alphabet[rng.below(alphabet.size())];
      return made;
    };
    const std::uint64_t size = rng.below(50);
    const auto range = parse_range("bytes=" + text("0123456789--- ,", 12), size);
    if (const auto* part = std::get_if<ByteRange>(&range); part != nullptr) {
      EXPECT_GT(part->count, 0U);
      EXPECT_LE(part->from + part->count, size);
    }
    EXPECT_FALSE(names_tag(text("W/\"\",x", 12), "not in there", true));
  }
}

TEST(Packed, BodiesThatWereChangedAreRefusedOrUnpackWithinTheLimit) {
  const std::string packed = gzip(pattern(5000));
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    Request request;
    request.body = packed;
    for (std::uint64_t i = 0, changes = 1 + rng.below(4); i < changes; ++i)
      request.body[rng.below(request.body.size())] = static_cast<char>(rng.below(256));
    request.body.resize(1 + rng.below(request.body.size()));
    const auto bad = unpack_body(request, 6000);
    if (bad) {
      EXPECT_TRUE(bad->status == 400 || bad->status == 413);
    } else {
      EXPECT_LE(request.body.size(), 6000U);
    }
  }
}

}  // namespace
}  // namespace slipway::server
