#include "tracing/otlp_json.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "support/support.h"
#include "tracing/tracing.h"

namespace slipway::tracing {
namespace {

using test::code_of;
using test::ok;

// The example of opentelemetry-proto (examples/trace.json), with what it leaves out.
constexpr std::string_view kRequest = R"({
  "resourceSpans": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
    "scopeSpans": [{
      "scope": {"name": "my.library", "version": "1.0.0"},
      "spans": [{
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "parentSpanId": "EEE19B7EC3C1B173",
        "name": "I'm a server span",
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": 1544712661000000000,
        "kind": 2,
        "unknown": {"member": 1},
        "attributes": [
          {"key": "text", "value": {"stringValue": "some value"}},
          {"key": "whole", "value": {"intValue": "-5"}},
          {"key": "real", "value": {"doubleValue": 0.5}},
          {"key": "none", "value": {"doubleValue": "NaN"}},
          {"key": "yes", "value": {"boolValue": true}},
          {"key": "raw", "value": {"bytesValue": "AAEC"}},
          {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {}]}}},
          {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": null}]}}}
        ],
        "events": [{"timeUnixNano": "7", "name": "sent"}],
        "links": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}],
        "status": {"message": "oh", "code": 2}
      }]
    }]
  }]
})";

TEST(OtlpJson, IsReadAsItsProtobufIs) {
  const auto message = otlp_from_json(kRequest);
  ASSERT_TRUE(ok(message));
  const auto spans = read_otlp(*message);
  ASSERT_TRUE(ok(spans));
  ASSERT_EQ(spans->size(), 1U);
  const Span& span = spans->front();
  EXPECT_EQ(span.trace_id, "5b8efff798038103d269b633813fc60c");
  EXPECT_EQ(span.span_id, "eee19b7ec3c1b174");
  EXPECT_EQ(span.parent_id, "eee19b7ec3c1b173");
  EXPECT_EQ(span.name, "I'm a server span");
  EXPECT_EQ(span.status, "ERROR");
  EXPECT_EQ(span.start_ns, 1'544'712'660'000'000'000);
  EXPECT_EQ(span.end_ns, 1'544'712'661'000'000'000);
  std::map<std::string, Json> attributes;
  for (const Json& pair : span.json.at("attributes")) {
    attributes[pair.at("key")] = pair.value("value", Json());
  }
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"text", R"({"string_value":"some value"})"},
      {"whole", R"({"int_value":"-5"})"},
      {"real", R"({"double_value":0.5})"},
      {"none", R"({"double_value":"NaN"})"},
      {"yes", R"({"bool_value":true})"},
      {"raw", R"({"bytes_value":"AAEC"})"},
      {"list", R"({"array_value":{"values":[{"int_value":"1"},{}]}})"},
      {"map", R"({"kvlist_value":{"values":[{"key":"k"}]}})"},
  };
  for (const auto& [key, want] : rows) EXPECT_EQ(attributes[key], Json::parse(want)) << key;
  EXPECT_EQ(span.json.at("events").at(0).at("time_unix_nano"), "7");
  EXPECT_EQ(span.json.at("links").size(), 1U);
  EXPECT_EQ(span.json.at("kind"), 2);
}

TEST(OtlpJson, WhatIsNoRequestIsRefused) {
  const auto with = [](std::string_view from, std::string_view to) {
    std::string text(kRequest);
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  const std::vector<std::string> rows = {
      "",
      "[]",
      "hello",
      std::string(kRequest.substr(0, kRequest.size() - 1)),
      with("\"kind\": 2", "\"kind\": \"SPAN_KIND_SERVER\""),
      with("\"kind\": 2", "\"kind\": 2.5"),
      with("EEE19B7EC3C1B174", "EEE19B7EC3C1B17X"),
      with("\"I'm a server span\"", "7"),
      with("\"boolValue\": true", "\"boolValue\": 1"),
      with("\"AAEC\"", "\"?\""),
      with("\"1544712660000000000\"", "\"noon\""),
      with("{\"values\": [{\"intValue\": 1}, {}]}", "[1]"),
      with("[{\"timeUnixNano\": \"7\", \"name\": \"sent\"}]", "{}"),
      std::string(300, '['),
  };
  for (const std::string& text : rows) {
    EXPECT_EQ(code_of(otlp_from_json(text)), "invalid_argument") << text.substr(0, 60);
  }
}

// A body that holds no span, or ids of the wrong length, is refused as its protobuf would be.
TEST(OtlpJson, WhatItCarriesIsCheckedByTheReader) {
  for (const std::string_view text :
       {R"({})", R"({"resourceSpans":[]})",
        R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"ab","spanId":"cd"}]}]}]})"}) {
    const auto message = otlp_from_json(text);
    ASSERT_TRUE(ok(message));
    EXPECT_EQ(code_of(read_otlp(*message)), "invalid_argument") << text;
  }
}

}  // namespace
}  // namespace slipway::tracing
