#include "tracing/tracing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "db/database.h"
#include "support/database.h"
#include "support/opened.h"
#include "support/support.h"

namespace slipway::tracing {
namespace {

using test::code_of;
using test::ok;
using ::testing::ElementsAre;
using tracking::ExperimentId;

constexpr ExperimentId kHere{1};

// Writes protobuf's wire format, as the peer of the reader under test.
std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
  return out;
}
std::string field(int number, std::string_view bytes) {
  return varint(static_cast<std::uint64_t>(number) << 3 | 2) + varint(bytes.size()) +
         std::string(bytes);
}
std::string number(int number, std::uint64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) + varint(value);
}
std::string fixed64(int number, std::uint64_t value) {
  std::string out = varint(static_cast<std::uint64_t>(number) << 3 | 1);
  for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}
std::string attribute(std::string_view key, std::string_view text) {
  return field(9, field(1, key) + field(2, field(1, text)));
}

struct SpanText {
  std::string trace_id = std::string(16, 'T');
  std::string span_id = std::string(8, 'a');
  std::string parent_id;
  std::string name = "work";
  std::uint64_t start = 1'000'000'000, end = 1'250'000'000;
  std::string more;  // further fields
  std::string text() const {
    return field(1, trace_id) + field(2, span_id) + (parent_id.empty() ? "" : field(4, parent_id)) +
           field(5, name) + fixed64(7, start) + fixed64(8, end) + more;
  }
};
std::string request(const std::vector<std::string>& spans) {
  std::string scope;
  for (const auto& span : spans) scope += field(2, span);
  return field(1, field(2, scope));
}
Span one(const SpanText& text) {
  auto spans = read_otlp(request({text.text()}));
  EXPECT_TRUE(ok(spans));
  return spans ? spans->at(0) : Span{};
}

TEST(Otlp, ASpanIsReadAndGivenInProtobufsJson) {
  SpanText text;
  text.parent_id = std::string(8, 'b');
  text.more = attribute("mlflow.spanInputs", R"({"a":1})") + attribute("mlflow.spanType", "LLM") +
              field(9, field(1, "n") + field(2, number(3, static_cast<std::uint64_t>(-5)))) +
              field(9, field(1, "d") + field(2, fixed64(4, std::bit_cast<std::uint64_t>(0.5)))) +
              field(9, field(1, "b") + field(2, number(2, 1))) +
              field(9, field(1, "l") + field(2, field(5, field(1, field(1, "x"))))) +
              field(11, fixed64(1, 7) + field(2, "sent")) +
              field(15, field(2, "oh") + number(3, 2)) + field(99, "what is to come");
  const Span span = one(text);
  EXPECT_EQ(span.trace_id, "54545454545454545454545454545454");
  EXPECT_EQ(span.parent_id, "6262626262626262");
  EXPECT_EQ(span.type, "LLM");
  EXPECT_EQ(span.status, "ERROR");
  EXPECT_EQ(span.inputs, R"({"a":1})");
  EXPECT_EQ(span.start_ns, 1'000'000'000);
  EXPECT_EQ(span.json.at("span_id"), "YWFhYWFhYWE=");
  EXPECT_EQ(span.json.at("end_time_unix_nano"), "1250000000");
  EXPECT_EQ(span.json.at("status"), (Json{{"code", "STATUS_CODE_ERROR"}, {"message", "oh"}}));
  EXPECT_EQ(span.json.at("events").at(0).at("name"), "sent");
  const auto& attributes = span.json.at("attributes");
  EXPECT_EQ(attributes.at(2).at("value"), (Json{{"int_value", "-5"}}));
  EXPECT_EQ(attributes.at(3).at("value"), (Json{{"double_value", 0.5}}));
  EXPECT_EQ(attributes.at(4).at("value"), (Json{{"bool_value", true}}));
  EXPECT_EQ(attributes.at(5).at("value").at("array_value").at("values").at(0),
            (Json{{"string_value", "x"}}));
}

TEST(Otlp, WhatIsNoRequestIsRefused) {
  const auto with = [](auto&& change) {
    SpanText text;
    change(text);
    return request({text.text()});
  };
  const std::string good = request({SpanText{}.text()});
  std::string deep = field(1, "x");
  for (int i = 0; i < 40; ++i) deep = field(5, field(1, deep));
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"empty", ""},
      {"text", "hello"},
      {"cut off", good.substr(0, good.size() - 1)},
      {"no span", field(1, "")},
      {"an endless number", std::string(11, '\xff')},
      {"a part longer than all", "\x0a\x7f"},
      {"short trace id", with([](auto& t) { t.trace_id = "short"; })},
      {"no span id", with([](auto& t) { t.span_id = ""; })},
      {"long parent", with([](auto& t) { t.parent_id = std::string(9, 'p'); })},
      {"name not UTF-8", with([](auto& t) { t.name = "\xff\xfe"; })},
      {"after 2262", with([](auto& t) { t.end = ~0ULL; })},
      {"unknown status", with([](auto& t) { t.more = field(15, number(3, 9)); })},
      {"too deep", with([&](auto& t) { t.more = field(9, field(1, "k") + field(2, deep)); })},
  };
  for (const auto& [what, bytes] : rows) {
    EXPECT_EQ(code_of(read_otlp(bytes)), "invalid_argument") << what;
  }
  EXPECT_EQ(code_of(read_otlp(request({SpanText{}.text(), SpanText{}.text()}), 1)),
            "resource_exhausted");
}

// Whatever the bytes are, they are read or refused.
TEST(Otlp, DamagedBytesNeverCrash) {
  const std::uint64_t seed = 20261124;
  RecordProperty("seed", static_cast<int>(seed));
  Rng rng(seed);
  SpanText text;
  text.more = attribute("k", "v") + field(11, field(2, "e")) + field(13, field(1, "t"));
  const std::string good = request({text.text(), text.text()});
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;
    for (std::uint64_t i = 0; i <= rng.below(4); ++i) {
      bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
    }
    if (rng.below(3) == 0) bytes.resize(rng.below(bytes.size()));
    const auto read = read_otlp(bytes);
    if (read) continue;
    EXPECT_EQ(read.error().code, Code::invalid_argument);
  }
}

class TracesTest : public testing::Test {
 protected:
  void SetUp() override {
    db_ = test::opened(
        db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    traces_ = test::opened(Traces::open(*db_, clock_, ids_, {.spans_per_trace = 4, .page = 100}));
  }

  // A trace of one span that is over; its id.
  std::string log(char letter, std::uint64_t start_ms, const std::string& more = "") {
    SpanText text{.trace_id = std::string(16, letter),
                  .name = std::string("trace ") + letter,
                  .start = start_ms * 1'000'000,
                  .end = (start_ms + 10) * 1'000'000,
                  .more = more};
    const std::vector<Span> spans = {one(text)};
    EXPECT_TRUE(ok(traces_->log_spans(kHere, spans)));
    return "tr-" + spans[0].trace_id;
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<Traces> traces_;
};

TEST_F(TracesTest, SpansMakeATraceAndItsRecordHasTheLastWord) {
  const auto id = log('a', 5000);
  auto info = traces_->info(id);
  ASSERT_TRUE(ok(info));
  EXPECT_EQ(info->state, "OK");
  EXPECT_EQ(info->start_ms, 5000);
  EXPECT_EQ(info->duration_ms, 10);
  EXPECT_EQ(info->tags.at("mlflow.traceName"), "trace a");
  TraceInfo record{.id = id,
                   .experiment = kHere,
                   .start_ms = 4000,
                   .duration_ms = 77,
                   .state = "ERROR",
                   .metadata = {{"who", "ann"}},
                   .tags = {{"colour", "red"}}};
  const auto kept = traces_->put(record, "mlflow-artifacts:/1/traces/x");
  ASSERT_TRUE(ok(kept));
  EXPECT_EQ(kept->tags.at("mlflow.trace.spansLocation"), "TRACKING_STORE");
  EXPECT_EQ(kept->tags.at("mlflow.artifactLocation"), "mlflow-artifacts:/1/traces/x");
  log('a', 9000);  // spans that are late change nothing of it
  info = traces_->info(id);
  EXPECT_EQ(info->state, "ERROR");
  EXPECT_EQ(info->start_ms, 4000);
  EXPECT_EQ(info->duration_ms, 77);
  EXPECT_EQ(info->metadata.at("who"), "ann");
}

TEST_F(TracesTest, ATraceIsWholeWhenAllSpansItsRecordCountsHaveCome) {
  const auto id = log('a', 5000);
  TraceInfo record{.id = id, .experiment = kHere, .start_ms = 1, .state = "OK"};
  record.metadata[std::string(kSizeStats)] = R"({"num_spans": 2})";
  ASSERT_TRUE(ok(traces_->put(record, "")));
  EXPECT_EQ(code_of(traces_->trace(id)), "not_found");
  EXPECT_EQ(traces_->trace(id, true)->spans.size(), 1U);
  EXPECT_TRUE(traces_->traces(std::vector<std::string>{id})->empty());
  SpanText second{.trace_id = std::string(16, 'a'),
                  .span_id = std::string(8, 'z'),
                  .parent_id = std::string(8, 'a')};
  ASSERT_TRUE(ok(traces_->log_spans(kHere, std::vector<Span>{one(second)})));
  EXPECT_EQ(traces_->trace(id)->spans.size(), 2U);
}

TEST_F(TracesTest, OneTraceHasOneExperimentAndNotTooManySpans) {
  log('a', 5000);
  EXPECT_EQ(code_of(traces_->log_spans(ExperimentId{2},
                                       std::vector<Span>{one({.trace_id = std::string(16, 'a')})})),
            "failed_precondition");
  std::vector<Span> many;
  for (char c = 'b'; c < 'g'; ++c) {
    many.push_back(one({.trace_id = std::string(16, 'q'), .span_id = std::string(8, c)}));
  }
  EXPECT_EQ(code_of(traces_->log_spans(kHere, many)), "resource_exhausted");
  EXPECT_EQ(code_of(traces_->info("tr-" + many[0].trace_id)), "not_found");  // all or nothing
}

TEST_F(TracesTest, SearchesByWhatTracesAndSpansSay) {
  const auto a = log('a', 1000, attribute("model", "small") + attribute("mlflow.spanType", "LLM"));
  const auto b = log('b', 2000, attribute("model", "large") + field(15, number(3, 2)));
  const auto c = log('c', 3000);
  ASSERT_TRUE(ok(traces_->set_tag(a, "colour", "red")));
  ASSERT_TRUE(ok(traces_->link_to_run(std::vector<std::string>{c}, "r1")));
  ASSERT_TRUE(ok(traces_->link_prompts(c, std::vector<PromptVersion>{{"p", "1"}})));
  ASSERT_TRUE(ok(traces_->create_assessment(
      a, {{"assessment_name", "score"}, {"feedback", {{"value", 0.75}}}})));
  ASSERT_TRUE(ok(traces_->create_assessment(
      b, {{"assessment_name", "score"}, {"feedback", {{"value", "bad"}}}})));
  struct Row {
    std::string filter;
    std::vector<std::string> ids;
    std::vector<std::string> order_by = {};
  };
  for (const auto& row : std::vector<Row>{
           {"", {c, b, a}},
           {"", {a, b, c}, {"timestamp_ms"}},
           {"", {a, c, b}, {"tags.colour", "timestamp DESC"}},
           {"status = 'ERROR'", {b}},
           {"trace.timestamp_ms >= 2000", {c, b}},
           {"end_time_ms <= 2010", {b, a}},
           {"name = 'trace a'", {a}},
           {"tags.colour = 'red'", {a}},
           {"tags.colour IS NULL", {c, b}},
           {"run_id = 'r1'", {c}},
           {"prompt = 'p/1'", {c}},
           {"span.type = 'LLM'", {a}},
           {"span.type = 'LLM' AND span.status = 'ERROR'", {}},
           {"span.attributes.model = 'large'", {b}},
           {"span.attributes.model = 'larg'", {}},
           {"span.attributes.model = 'LLM'", {}},
           {"span.attributes.model LIKE '%a%'", {b, a}},
           {"text LIKE '%small%'", {a}},
           {"feedback.score > 0.5", {a}},
           {"feedback.score = 'bad'", {b}},
           {"feedback.score IS NULL", {c}},
           {"expectation.score IS NOT NULL", {}},
       }) {
    const auto page =
        traces_->search({.experiments = {kHere}, .filter = row.filter, .order_by = row.order_by});
    ASSERT_TRUE(ok(page)) << row.filter;
    std::vector<std::string> ids;
    for (const auto& info : page->items) ids.push_back(info.id);
    EXPECT_EQ(ids, row.ids) << row.filter;
  }
  for (const std::string bad : {"colour = 'red'", "span.colour = 'x'", "status > 3",
                                "issue.x = 'y'", "span.attributes.model > 5", "metrics.a = 1"}) {
    EXPECT_EQ(code_of(traces_->search({.experiments = {kHere}, .filter = bad})), "invalid_argument")
        << bad;
  }
}

TEST_F(TracesTest, AssessmentsAreChangedOverriddenAndRemoved) {
  const auto id = log('a', 1000);
  const auto first = traces_->create_assessment(
      id,
      {{"assessment_name", "good"}, {"feedback", {{"value", true}}}, {"metadata", {{"a", "1"}}}});
  ASSERT_TRUE(ok(first));
  EXPECT_EQ(first->json.at("create_time"), "2013-04-01T12:00:00Z");
  const auto changed = traces_->update_assessment(
      id, first->id, {{"rationale", "why"}, {"metadata", {{"b", "2"}}}, {"valid", false}},
      std::vector<std::string>{"rationale", "metadata"});
  ASSERT_TRUE(ok(changed));
  EXPECT_EQ(changed->json.at("rationale"), "why");
  EXPECT_EQ(changed->json.at("metadata"), (Json{{"a", "1"}, {"b", "2"}}));
  EXPECT_EQ(changed->json.at("valid"), true);
  EXPECT_EQ(code_of(traces_->update_assessment(id, first->id, {{"valid", false}},
                                               std::vector<std::string>{"valid"})),
            "invalid_argument");
  EXPECT_EQ(code_of(traces_->update_assessment(id, first->id, {{"expectation", Json::object()}},
                                               std::vector<std::string>{"expectation"})),
            "invalid_argument");
  const auto second = traces_->create_assessment(
      id,
      {{"assessment_name", "good"}, {"feedback", {{"value", false}}}, {"overrides", first->id}});
  ASSERT_TRUE(ok(second));
  EXPECT_EQ(traces_->assessment(id, first->id)->json.at("valid"), false);
  ASSERT_TRUE(ok(traces_->delete_assessment(id, second->id)));
  EXPECT_EQ(traces_->assessment(id, first->id)->json.at("valid"), true);
  for (const Json& bad :
       {Json("x"), Json{{"assessment_name", "a"}}, Json{{"feedback", Json::object()}},
        Json{{"assessment_name", "a"}, {"feedback", {{"value", std::string(200'000, 'x')}}}}}) {
    EXPECT_EQ(code_of(traces_->create_assessment(id, bad)), "invalid_argument");
  }
}

TEST_F(TracesTest, RemovesByIdOrTheOldest) {
  const auto a = log('a', 1000), b = log('b', 2000), c = log('c', 3000);
  EXPECT_EQ(*traces_->remove({.experiment = ExperimentId{2}, .ids = {a}}), 0);
  EXPECT_EQ(*traces_->remove({.experiment = kHere, .ids = {a, "tr-nobody"}}), 1);
  EXPECT_EQ(*traces_->remove({.experiment = kHere, .until_ms = 5000, .most = 1}), 1);
  EXPECT_EQ(code_of(traces_->info(b)), "not_found");
  EXPECT_TRUE(ok(traces_->info(c)));
  EXPECT_EQ(code_of(traces_->remove({.experiment = kHere})), "invalid_argument");
  EXPECT_EQ(code_of(traces_->remove({.experiment = kHere, .ids = {c}, .until_ms = 1})),
            "invalid_argument");
  ASSERT_TRUE(ok(db_->write([](db::Transaction& tx) { return purge(tx, ExperimentId{2}); })));
  EXPECT_TRUE(ok(traces_->info(c)));
  ASSERT_TRUE(ok(db_->write([](db::Transaction& tx) { return purge(tx, kHere); })));
  EXPECT_EQ(code_of(traces_->info(c)), "not_found");
}

}  // namespace
}  // namespace slipway::tracing
