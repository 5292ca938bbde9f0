#include "api/inference_api.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "api/metrics_api.h"
#include "base/json.h"
#include "base/log.h"
#include "server/server.h"
#include "support/database.h"
#include "support/fake_models.h"
#include "support/raw_http.h"
#include "support/support.h"

namespace slipway::api {
namespace {

using test::ok;
using test::RawClient;
using test::RawResponse;

const data::Schema kFlights{.fields = {{.name = "temp", .type = data::Type::float64},
                                       {.name = "seats", .type = data::Type::int64},
                                       {.name = "carrier", .type = data::Type::text},
                                       {.name = "holiday", .type = data::Type::boolean},
                                       {.name = "time_hour", .type = data::Type::timestamp}}};

// Says in its score what it saw: temp / 100, or NaN when temp is missing.
double temp_rule(const data::Batch& batch, std::int64_t row) {
  return batch.columns[0].is_null(row) ? std::nan("") : batch.columns[0].real(row) / 100;
}

Json tensor(const std::string& name, const std::string& datatype, Json shape, Json values) {
  return {{"name", name},
          {"datatype", datatype},
          {"shape", std::move(shape)},
          {"data", std::move(values)}};
}

Json request(double temp = 50) {
  return {{"inputs",
           {tensor("temp", "FP64", {1}, {temp}), tensor("seats", "INT64", {1}, {180}),
            tensor("carrier", "BYTES", {1}, {"UA"}), tensor("holiday", "BOOL", {1}, {false}),
            tensor("time_hour", "BYTES", {1}, {"2013-04-01T05:00:00Z"})}}};
}

class InferenceApiTest : public testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::off);
    db_ = std::move(
        *db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    audit_ = std::move(*audit::Log::open(*db_, scratch_ / "keys", clock_));
    deployments_ = std::move(*serving::DeploymentStore::open(*db_, *audit_, clock_));
    log_ = std::move(*serving::PredictionLog::open(scratch_ / "predictions", {.durable = false}));
    source_.set_bundle("one", {kFlights, temp_rule});
    source_.set_bundle("two", {kFlights, [](const data::Batch&, std::int64_t) { return 0.25; }});
    source_.set_bundle("value", {{.fields = {kFlights.fields[0]}}, temp_rule, false});
    source_.set_alias("flights", "champion", 1, "one");
    source_.set_alias("flights", "challenger", 2, "two");
    source_.set_alias("price", "champion", 1, "value");
    const Context ctx(clock_);
    ASSERT_TRUE(ok(deployments_->put(ctx, {.name = "flights", .shadows = {"challenger"}})));
    ASSERT_TRUE(ok(deployments_->put(ctx, {.name = "replayed",
                                           .model = "flights",
                                           .clock = serving::ClockSource::request,
                                           .threshold = 0.9})));
    ASSERT_TRUE(ok(deployments_->put(ctx, {.name = "price"})));
    ASSERT_TRUE(ok(deployments_->put(ctx, {.name = "waiting"})));
    host_ = std::make_unique<serving::ModelHost>(*deployments_, source_, *log_, clock_,
                                                 serving::HostOptions{});
    ASSERT_TRUE(ok(host_->refresh()));
    add_inference_routes(router_, *host_, clock_, ids_, {.large_body = 100'000});
    add_serving_metrics(metrics_, *host_);
    add_process_metrics(metrics_);
    add_server_metrics(metrics_, [this] { return server_->stats(); });
    add_metrics_routes(router_, metrics_);
    auto server = server::HttpServer::start({}, router_, clock_, ids_);
    ASSERT_TRUE(ok(server));
    server_ = std::move(*server);
    client_ = std::make_unique<RawClient>(server_->port());
  }
  void TearDown() override { log::set_level(log::Level::info); }

  RawResponse infer(const Json& body, const std::string& path = "/v2/models/flights/infer",
                    const std::string& headers = "") {
    return client_->post(path, body.dump(), headers);
  }
  static Json parsed(const RawResponse& response) { return Json::parse(response.body); }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<serving::DeploymentStore> deployments_;
  std::unique_ptr<serving::PredictionLog> log_;
  test::FakeSource source_;
  std::unique_ptr<serving::ModelHost> host_;
  Metrics metrics_;
  server::Router router_;
  std::unique_ptr<server::HttpServer> server_;
  std::unique_ptr<RawClient> client_;
};

TEST_F(InferenceApiTest, AnswersOneRowAndLogsIt) {
  const auto response = infer(request());
  ASSERT_EQ(response.status, 200) << response.body;
  const Json body = parsed(response);
  EXPECT_EQ(body["model_name"], "flights");
  EXPECT_EQ(body["model_version"], "1");
  EXPECT_FALSE(body.contains("id"));
  const std::string id = body["parameters"]["prediction_ids"][0];
  EXPECT_EQ(body["outputs"],
            Json::parse(R"([{"name":"probability","datatype":"FP64","shape":[1],"data":[0.5]},
                                             {"name":"label","datatype":"INT64","shape":[1],"data":[1]}])"));
  const auto logged = log_->find(id);
  ASSERT_TRUE(ok(logged));
  EXPECT_EQ(logged->time, test::kNoon2013);
  EXPECT_EQ(logged->inputs, (Json{{"temp", 50.0},
                                  {"seats", 180},
                                  {"carrier", "UA"},
                                  {"holiday", false},
                                  {"time_hour", "2013-04-01T05:00:00Z"}}));
  host_->finish_shadows();
  ASSERT_TRUE(ok(log_->seal()));
  EXPECT_EQ(log_->count("flights", serving::Role::shadow), 1);
}

TEST_F(InferenceApiTest, TakesManyRowsNestedDataNullsAndOtherNumbers) {
  Json body = {{"id", "batch"},
               {"inputs",
                {tensor("time_hour", "BYTES", {3}, {"2013-04-01", "2013-04-01 05:00", nullptr}),
                 tensor("temp", "INT32", {3, 1}, {{10}, {nullptr}, {99}}),
                 tensor("seats", "FP32", {3}, {1, 2.0, nullptr}),
                 tensor("carrier", "BYTES", {3, 1}, {{"\u00fc"}, {""}, {nullptr}}),
                 tensor("holiday", "BOOL", {3}, {true, false, nullptr})}},
               {"outputs", {{{"name", "label"}}, {{"name", "probability"}}}}};
  const auto response = infer(body);
  ASSERT_EQ(response.status, 200) << response.body;
  const Json answer = parsed(response);
  EXPECT_EQ(answer["id"], "batch");
  EXPECT_EQ(answer["outputs"][0]["data"], Json::parse("[0,null,1]"));
  EXPECT_EQ(answer["outputs"][1]["data"], Json::parse("[0.1,null,0.99]"));
  EXPECT_EQ(answer["parameters"]["prediction_ids"],
            Json::parse(R"(["batch:0","batch:1","batch:2"])"));
  const auto logged = log_->find("batch:1");
  ASSERT_TRUE(ok(logged));
  EXPECT_EQ(logged->inputs["seats"], 2);
  EXPECT_EQ(logged->inputs["temp"], nullptr);
  EXPECT_EQ(logged->score, std::nullopt);
  EXPECT_EQ(log_->find("batch:0")->inputs["carrier"], "\u00fc");
}

TEST_F(InferenceApiTest, ARequestsIdIsThePredictionsAndMayNotComeTwice) {
  Json body = request();
  body["id"] = "flight 7\n";  // ids go on into logs and headers
  EXPECT_EQ(infer(body).status, 400);
  body["id"] = "flight 7 \"x\"";
  const auto response = infer(body);
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(parsed(response)["id"], body["id"]);
  EXPECT_EQ(parsed(response)["parameters"]["prediction_ids"][0], body["id"]);
  EXPECT_EQ(infer(body).status, 409);
  EXPECT_EQ(log_->count("flights"), 1);
}

TEST_F(InferenceApiTest, SaysWhatIsWrongWithARequest) {
  const auto with = [](const std::string& key, Json value, std::size_t tensor = 0) {
    Json body = request();
    body["inputs"][tensor][key] = std::move(value);
    return body;
  };
  Json doubled = request();
  doubled["inputs"].push_back(doubled["inputs"][0]);
  Json lacking = request();
  lacking["inputs"].erase(1);
  const auto changed = [](const std::string& key, Json value) {
    Json body = request();
    body[key] = std::move(value);
    return body;
  };
  const std::vector<std::tuple<std::string, Json, std::string>> rows = {
      {"no inputs", Json::object(), "no inputs"},
      {"inputs no array", changed("inputs", 3), "inputs is a number, wanted an array"},
      {"an array", Json::array({1}), "the body is an array, wanted an object"},
      {"a number as id", changed("id", 3), "id is a number, wanted a string"},
      {"an endless id", changed("id", std::string(300, 'x')), "at most 256"},
      {"unknown input", with("name", "tempp"), "did you mean 'temp'?"},
      {"name no string", with("name", 5), "the name of an input is a number"},
      {"missing input", lacking, "lacks 1 of the model's 5 inputs: 'seats'"},
      {"input twice", doubled, "input 'temp': it is there twice"},
      {"wrong datatype", with("datatype", "BYTES"),
       "input 'temp': datatype is 'BYTES', the model takes FP64"},
      {"unknown datatype", with("datatype", "FP65"), "the unknown 'FP65'"},
      {"string for a number", with("data", {"50"}),
       "input 'temp': row 0: the value is a string, wanted a number"},
      {"number for a string", with("data", {50}, 2),
       "input 'carrier': row 0: the value is a number, wanted a string"},
      {"number for a boolean", with("data", {1}, 3), "wanted true or false"},
      {"half a seat", with("data", {1.5}, 1), "the value is 1.5, wanted an integer"},
      {"no time", with("data", {"yesterday"}, 4), "input 'time_hour': row 0"},
      {"an object as value", with("data", {Json::object()}), "the value is an object"},
      {"data no array", with("data", 5), "data is a number, wanted an array"},
      {"shape no array", with("shape", "1"), "shape is a string"},
      {"dimension no number", with("shape", {"1"}), "a dimension of the shape is a string"},
      {"negative shape", with("shape", {-1}), "shape is [-1]"},
      {"no rows", with("shape", {0}), "shape is [0], wanted [n] or [n, 1]"},
      {"too wide", with("shape", {1, 2}), "shape is [1, 2]"},
      {"rank 3", with("shape", {1, 1, 1}), "shape is [1, 1, 1]"},
      {"too few values", with("shape", {2}), "its shape says 2 values, its data has 1"},
      {"too many values", with("data", {1, 2}), "its shape says 1 values, its data has more"},
      {"unknown output", changed("outputs", {{{"name", "probabilty"}}}),
       "no output 'probabilty'; it has probability, label"},
      {"outputs no array", changed("outputs", "label"), "outputs is a string"},
      {"binary size behind the end", with("parameters", {{"binary_data_size", 8}}),
       "both data and binary_data_size"},
  };
  for (const auto& [name, body, words] : rows) {
    SCOPED_TRACE(name);
    const auto response = infer(body);
    EXPECT_EQ(response.status, 400);
    const Json error = parsed(response);
    EXPECT_NE(error["error"].get<std::string>().find(words), std::string::npos) << response.body;
  }
  Json other_rows = request();
  other_rows["inputs"][1] = tensor("seats", "INT64", {2}, {1, 2});
  EXPECT_NE(infer(other_rows).body.find("says 2 rows, an input before it 1"), std::string::npos);
  EXPECT_EQ(log_->count("flights"), 0);
  EXPECT_EQ(infer(request()).status, 200);
}

TEST_F(InferenceApiTest, BodiesThatAreNoJsonAreRefused) {
  const std::string path = "/v2/models/flights/infer";
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("{\"inputs\":[}"), std::string("\xff\xfe"),
        std::string("nonsense"), std::string(200'000, '['),
        "{\"inputs\":" + std::string(5000, '[') + std::string(5000, ']') + "}"}) {
    const auto response = client_->post(path, body);
    EXPECT_EQ(response.status, 400) << body.substr(0, 20);
    EXPECT_TRUE(parsed(response).contains("error"));
  }
  EXPECT_EQ(client_->post(path, request().dump(), "Content-Type: text/plain\r\n").status, 200);
}

TEST_F(InferenceApiTest, TheClockOfAReplayedDeploymentIsTheRequests) {
  const std::string path = "/v2/models/replayed/infer";
  const auto response = infer(request(), path, "x-slipway-time: 2013-05-01T10:00:00Z\r\n");
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(parsed(response)["outputs"][1]["data"][0], 0);  // its threshold is 0.9
  EXPECT_EQ(format_time(*log_->watermark("replayed")), "2013-05-01T10:00:00Z");
  EXPECT_EQ(infer(request(), path).status, 400);
  EXPECT_EQ(infer(request(), path, "x-slipway-time: soon\r\n").status, 400);
  EXPECT_EQ(infer(request(), "/v2/models/flights/infer", "x-slipway-time: 2013-05-01T10:00:00Z\r\n")
                .status,
            400);
}

TEST_F(InferenceApiTest, BinaryTensorsGoBothWays) {
  Json body = {{"inputs", Json::array()}, {"parameters", {{"binary_data_output", true}}}};
  std::string binary;
  const auto add = [&](const std::string& name, const std::string& datatype,
                       const std::string& bytes) {
    body["inputs"].push_back({{"name", name},
                              {"datatype", datatype},
                              {"shape", {2, 1}},
                              {"parameters", {{"binary_data_size", bytes.size()}}}});
    binary += bytes;
  };
  const auto raw = [](auto first, auto second) {
    std::string bytes(2 * sizeof first, '\0');
    std::memcpy(bytes.data(), &first, sizeof first);
    std::memcpy(bytes.data() + sizeof first, &second, sizeof second);
    return bytes;
  };
  add("temp", "FP32", raw(25.0F, std::nanf("")));
  add("seats", "UINT8", raw(std::uint8_t{7}, std::uint8_t{255}));
  add("carrier", "BYTES", std::string("\2\0\0\0U\0\0\0\0\0", 10));
  add("holiday", "BOOL", std::string("\1\0", 2));
  add("time_hour", "BYTES",
      std::string("\12\0\0\0"
                  "2013-04-01"
                  "\12\0\0\0"
                  "2013-04-02",
                  28));
  const auto send = [&](const std::string& extra) {
    const std::string json = body.dump();
    return client_->post(
        "/v2/models/flights/infer", json + binary + extra,
        "Inference-Header-Content-Length: " + std::to_string(json.size()) + "\r\n");
  };
  const auto response = send("");
  ASSERT_EQ(response.status, 200) << response.body;
  const auto length = std::stoul(response.headers.at("inference-header-content-length"));
  const Json answer = Json::parse(response.body.substr(0, length));
  EXPECT_EQ(answer["outputs"][0]["parameters"]["binary_data_size"], 16);
  double probability = 0;
  std::memcpy(&probability, response.body.data() + length, sizeof probability);
  EXPECT_EQ(probability, 0.25);
  const auto logged = log_->find(answer["parameters"]["prediction_ids"][1].get<std::string>());
  ASSERT_TRUE(ok(logged));
  EXPECT_EQ(logged->inputs["temp"], nullptr);
  EXPECT_EQ(logged->inputs["seats"], 255);

  EXPECT_EQ(send("x").status, 400);
  binary.pop_back();
  EXPECT_EQ(send("").status, 400);
  body["inputs"][0]["parameters"]["binary_data_size"] = -8;
  EXPECT_EQ(send("").status, 400);
  body["inputs"][0]["parameters"]["binary_data_size"] = "8";
  EXPECT_EQ(send("").status, 400);
  for (const char* header : {"0", "-1", "x", "99999999"}) {
    EXPECT_EQ(client_
                  ->post("/v2/models/flights/infer", "{}",
                         fmt::format("Inference-Header-Content-Length: {}\r\n", header))
                  .status,
              400);
  }
}

TEST_F(InferenceApiTest, LargeBodiesAreAnsweredToo) {
  const int count = 20'000;
  Json body = {{"inputs", Json::array()}};
  body["inputs"].push_back(tensor("temp", "FP64", {count}, std::vector<double>(count, 30)));
  body["inputs"].push_back(tensor("seats", "INT64", {count}, std::vector<int>(count, 1)));
  body["inputs"].push_back(
      tensor("carrier", "BYTES", {count}, std::vector<std::string>(count, "UA")));
  body["inputs"].push_back(tensor("holiday", "BOOL", {count}, std::vector<bool>(count, true)));
  body["inputs"].push_back(
      tensor("time_hour", "BYTES", {count}, std::vector<std::string>(count, "2013-04-01")));
  const auto response = infer(body);
  ASSERT_EQ(response.status, 200);
  EXPECT_EQ(parsed(response)["outputs"][0]["data"].size(), static_cast<std::size_t>(count));
  EXPECT_EQ(log_->count("flights"), count);
}

TEST_F(InferenceApiTest, DescribesServerAndModels) {
  EXPECT_EQ(parsed(client_->get("/health"))["status"], "ok");
  EXPECT_EQ(client_->get("/v2/health/live").status, 200);
  EXPECT_EQ(client_->get("/v2/health/ready").status, 503);  // "waiting" has no version yet
  EXPECT_EQ(parsed(client_->get("/v2"))["name"], "slipway");
  const Json model = parsed(client_->get("/v2/models/flights"));
  EXPECT_EQ(model["versions"], Json::parse(R"(["1","2"])"));
  EXPECT_EQ(model["inputs"][2],
            Json::parse(R"({"name":"carrier","datatype":"BYTES","shape":[-1]})"));
  EXPECT_EQ(model["inputs"].size(), 5u);
  EXPECT_EQ(model["outputs"][0]["name"], "probability");
  EXPECT_EQ(client_->get("/v2/models/flights/ready").status, 200);
  EXPECT_EQ(client_->get("/v2/models/flights/versions/2/ready").status, 200);
  EXPECT_EQ(client_->get("/v2/models/flights/versions/9/ready").status, 404);
  EXPECT_EQ(client_->get("/v2/models/flights/versions/x").status, 404);
  EXPECT_EQ(client_->get("/v2/models/waiting/ready").status, 503);
  EXPECT_NE(client_->get("/v2/models/flihgts").body.find("did you mean 'flights'?"),
            std::string::npos);
  EXPECT_EQ(infer(request(), "/v2/models/none/infer").status, 404);
  EXPECT_EQ(infer(request(), "/v2/models/waiting/infer").status, 503);
  EXPECT_EQ(client_->get("/v2/models/flights/infer").status, 405);
}

TEST_F(InferenceApiTest, AVersionCanBeAskedByNumberAndARegressionHasOneOutput) {
  const auto second = infer(request(), "/v2/models/flights/versions/2/infer");
  ASSERT_EQ(second.status, 200) << second.body;
  EXPECT_EQ(parsed(second)["model_version"], "2");
  EXPECT_EQ(parsed(second)["outputs"][0]["data"][0], 0.25);
  const auto price =
      infer({{"inputs", {tensor("temp", "FP64", {1}, {7})}}}, "/v2/models/price/infer");
  ASSERT_EQ(price.status, 200) << price.body;
  EXPECT_EQ(parsed(price)["outputs"],
            Json::parse(R"([{"name":"prediction","datatype":"FP64","shape":[1],"data":[0.07]}])"));
}

TEST_F(InferenceApiTest, CountsForPeopleAndForPrometheus) {
  EXPECT_EQ(infer(request()).status, 200);
  EXPECT_EQ(infer(request()).status, 200);
  EXPECT_EQ(infer({{"inputs", 3}}).status, 400);
  host_->finish_shadows();
  const Json stats = parsed(client_->get("/v2/models/flights/stats"))["model_stats"];
  ASSERT_EQ(stats.size(), 1u);
  EXPECT_EQ(stats[0]["inference_count"], 2);
  EXPECT_EQ(stats[0]["inference_stats"]["success"]["count"], 2);
  const auto page = client_->get("/metrics");
  EXPECT_EQ(page.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const char* line : {
           "slipway_serving_requests_total{deployment=\"flights\",version=\"1\",role=\"primary\"} "
           "2\n",
           "slipway_serving_requests_total{deployment=\"flights\",version=\"2\",role=\"shadow\"} "
           "2\n",
           "slipway_serving_errors_total{deployment=\"flights\",code=\"invalid_argument\"} 1\n",
           "slipway_serving_in_flight_requests{deployment=\"flights\"} 0\n",
           "slipway_serving_latency_seconds_count{deployment=\"flights\",version=\"1\",role="
           "\"primary\"} 2\n",
           "slipway_serving_latency_seconds_bucket{deployment=\"flights\",version=\"1\",role="
           "\"primary\",le=\"+Inf\"} 2\n",
           "# TYPE slipway_serving_latency_seconds histogram\n",
           "slipway_server_responses_total{status=\"4xx\"} 1\n",
       }) {
    EXPECT_NE(page.body.find(line), std::string::npos) << line << "\n" << page.body;
  }
  EXPECT_NE(page.body.find("process_resident_memory_bytes"), std::string::npos);
}

TEST_F(InferenceApiTest, RequestsUnderAMovingAliasAllGetAnAnswer) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<int> answered{0};
  std::vector<std::jthread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      RawClient caller(server_->port());
      const std::string body = request().dump();
      while (!stop) {
        const auto response = caller.post("/v2/models/flights/infer", body);
        const Json answer = Json::parse(response.body, nullptr, false);
        const bool right =
            response.status == 200 &&
            answer["outputs"][0]["data"][0] == (answer["model_version"] == "1" ? 0.5 : 0.25);
        if (!right) ++wrong;
        ++answered;
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    source_.set_alias("flights", "champion", i % 2 + 1, i % 2 == 0 ? "one" : "two");
    EXPECT_TRUE(ok(host_->refresh()));
    for (const int before = answered; answered < before + 4;) std::this_thread::yield();
  }
  stop = true;
  callers.clear();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace slipway::api
