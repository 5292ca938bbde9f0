#include "api/mlflow_api.h"

#include <gtest/gtest.h>

#include <future>

#include "audit/audit.h"
#include "base/ids.h"
#include "base/json.h"
#include "blob/store.h"
#include "db/database.h"
#include "registry/registry.h"
#include "support/database.h"
#include "support/opened.h"
#include "support/support.h"
#include "tracking/tracking.h"

namespace slipway::api {
namespace {

using namespace std::string_literals;
using server::Request;
using server::Response;
using test::ok;

// All routes over stores of their own; requests go through the router, without sockets.
class MlflowApiTest : public testing::Test {
 protected:
  void SetUp() override {
    db_ = test::opened(
        db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    log_ = test::opened(audit::Log::open(*db_, scratch_ / "keys", clock_));
    tracking_ = test::opened(tracking::Tracking::open(*db_, clock_, ids_));
    registry_ = test::opened(registry::Registry::open(*db_, *log_, clock_));
    store_ = test::opened(blob::Store::open(scratch_ / "blobs"));
    add_mlflow_routes(router_, *tracking_, *registry_, *store_);
  }

  using Query = std::vector<std::pair<std::string, std::string>>;
  Response send(const std::string& method, const std::string& path, const std::string& body = "",
                Query query = {}) {
    auto match = router_.match(method, path);
    if (match.route == nullptr) return {.status = 404, .body = "no route for " + path};
    const Request request{.method = method,
                          .target = path,
                          .path = path,
                          .query = std::move(query),
                          .params = std::move(match.params),
                          .body = body};
    if (match.route->async_handler) {
      const auto answered = std::make_shared<std::promise<Response>>();
      match.route->async_handler(
          ctx_, std::make_shared<Request>(request),
          [answered](Response response) { answered->set_value(std::move(response)); });
      return answered->get_future().get();
    }
    if (match.route->upload_handler) return upload(*match.route, request);
    return whole(match.route->handler(ctx_, request));
  }
  // As the server does it: the body in pieces, to a handler that saw the header only.
  Response upload(const server::Router::Route& route, Request request) {
    const std::string body = std::exchange(request.body, {});
    auto begun = route.upload_handler(ctx_, request);
    if (auto* answer = std::get_if<Response>(&begun); answer != nullptr) return *answer;
    const auto& upload = std::get<std::unique_ptr<server::Upload>>(begun);
    for (const std::string& piece :
         {body.substr(0, body.size() / 2), body.substr(body.size() / 2)}) {
      if (auto answer = upload->write(piece)) return *std::move(answer);
    }
    return upload->finish();
  }
  static Response whole(Response response) {
    if (response.stream == nullptr) return response;
    std::string bytes(response.stream->size(), '\0');
    const auto got = response.stream->read(bytes);
    EXPECT_TRUE(ok(got));
    response.body = bytes.substr(0, got.value_or(0));
    response.stream.reset();
    return response;
  }
  // The answer's JSON, which must be 200.
  Json good(const std::string& method, const std::string& path, const Json& body,
            const std::string& prefix = "/api/2.0/mlflow/") {
    const auto response = send(method, prefix + path, body.dump());
    EXPECT_EQ(response.status, 200) << path << " " << response.body;
    return Json::parse(response.body, nullptr, false);
  }
  Json get(const std::string& path, Query query) {
    const auto response = send("GET", "/api/2.0/mlflow/" + path, "", std::move(query));
    EXPECT_EQ(response.status, 200) << path << " " << response.body;
    return Json::parse(response.body, nullptr, false);
  }
  std::string new_run() {
    return good("POST", "runs/create", {{"experiment_id", "0"}, {"run_name", "r"}})
        .at("run")
        .at("info")
        .at("run_id");
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  Context ctx_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> log_;
  std::unique_ptr<tracking::Tracking> tracking_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<blob::Store> store_;
  server::Router router_;
};

TEST_F(MlflowApiTest, AnswersUnderBothPrefixes) {
  for (const std::string prefix : {"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"}) {
    const auto found = good("POST", "experiments/search", {{"max_results", 10}}, prefix);
    EXPECT_EQ(found.at("experiments").at(0).at("name"), "Default");
    EXPECT_FALSE(found.contains("next_page_token"));
  }
  EXPECT_EQ(send("GET", "/version").body, kMlflowVersion);
}

TEST_F(MlflowApiTest, ARunAsTheClientSeesIt) {
  const auto id = new_run();
  good("POST", "runs/log-batch",
       {{"run_id", id},
        {"metrics",
         {{{"key", "auc"}, {"value", "NaN"}, {"timestamp", "17"}, {"step", "3"}},
          {{"key", "loss"}, {"value", 0.25}, {"timestamp", 17}}}},
        {"params", {{{"key", "depth"}, {"value", "6"}}}},
        {"tags", {{{"key", "team"}, {"value", "ops"}}}}});
  const auto run = get("runs/get", {{"run_id", id}}).at("run");
  EXPECT_EQ(run.at("info").at("status"), "RUNNING");
  EXPECT_EQ(run.at("info").at("experiment_id"), "0");
  EXPECT_EQ(run.at("info").at("lifecycle_stage"), "active");
  EXPECT_EQ(run.at("info").at("artifact_uri"), "mlflow-artifacts:/0/" + id + "/artifacts");
  EXPECT_FALSE(run.at("info").contains("end_time"));
  const Json nan_point = {{"key", "auc"}, {"value", "NaN"}, {"timestamp", 17}, {"step", 3}};
  const Json point = {{"key", "loss"}, {"value", 0.25}, {"timestamp", 17}, {"step", 0}};
  EXPECT_EQ(run.at("data").at("metrics"), Json::array({nan_point, point}));
  EXPECT_EQ(run.at("data").at("params"), Json::array({{{"key", "depth"}, {"value", "6"}}}));
  EXPECT_EQ(get("runs/get", {{"run_uuid", id}}).at("run"), run);

  const auto info = good("POST", "runs/update",
                         {{"run_id", id}, {"status", "FINISHED"}, {"end_time", "1700000000000"}})
                        .at("run_info");
  EXPECT_EQ(info.at("end_time"), 1700000000000);
  const auto found = good("POST", "runs/search",
                          {{"experiment_ids", {"0", "77", "not a number"}},
                           {"filter", "params.depth = '6'"},
                           {"order_by", {"metrics.loss"}}});
  EXPECT_EQ(found.at("runs").at(0).at("info").at("run_id"), id);
}

TEST_F(MlflowApiTest, ErrorsHaveMlflowsForm) {
  const auto id = new_run();
  good("POST", "runs/log-parameter", {{"run_id", id}, {"key", "a"}, {"value", "1"}});
  struct Row {
    std::string method;
    std::string path;
    std::string body;
    int status;
    std::string code;
  };
  const std::string run = R"({"run_id":")" + id + R"(",)";
  const std::vector<Row> rows = {
      {"GET", "runs/get", "", 400, "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-metric", "{", 400, "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-metric", "\"text\"", 400, "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-metric", run + R"("key":"m","value":[1],"timestamp":1})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-metric", run + R"("key":"m","value":true,"timestamp":1})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-metric", run + R"("key":"m","value":"x","timestamp":1})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-metric", run + R"("key":"m","value":1,"timestamp":1.5})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-metric", run + R"("key":"m","value":1,"timestamp":99999999999999999999})",
       400, "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-metric", R"({"run_id":"nobody","key":"m","value":1,"timestamp":1})", 404,
       "RESOURCE_DOES_NOT_EXIST"},
      {"POST", "runs/log-parameter", run + R"("key":"a","value":"2"})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-batch", run + R"("metrics":{"key":"m"}})", 400, "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-batch", run + R"("params":["a"]})", 400, "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/update", run + R"("status":"DONE"})", 400, "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/search", R"({"experiment_ids":["0"],"filter":"and"})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/search", R"({"experiment_ids":["0"],"run_view_type":"SOME"})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/create", R"({"tags":"x"})", 400, "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/create", R"({"experiment_id":"99"})", 404, "RESOURCE_DOES_NOT_EXIST"},
      {"POST", "experiments/create", R"({"name":"Default"})", 400, "RESOURCE_ALREADY_EXISTS"},
      {"POST", "experiments/create", R"({"name":7})", 400, "INVALID_PARAMETER_VALUE"},
      {"POST", "registered-models/alias", R"({"name":"m","alias":"a","version":"x"})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-inputs", run + R"("datasets":[{"dataset":{"name":""}}]})", 400,
       "INVALID_PARAMETER_VALUE"},
      {"POST", "runs/log-model", run + R"("model_json":"{}"})", 400, "INVALID_PARAMETER_VALUE"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.path + " " + row.body);
    const auto response = send(row.method, "/api/2.0/mlflow/" + row.path, row.body);
    EXPECT_EQ(response.status, row.status) << response.body;
    const auto body = Json::parse(response.body, nullptr, false);
    ASSERT_TRUE(body.is_object()) << response.body;
    EXPECT_EQ(body.value("error_code", ""), row.code);
    EXPECT_FALSE(body.value("message", "").empty());
  }
}

TEST_F(MlflowApiTest, ErrorsNameThePlaceWithinABatch) {
  const auto response =
      send("POST", "/api/2.0/mlflow/runs/log-batch",
           R"({"run_id":"r","metrics":[{"key":"a","value":1,"timestamp":1},{"key":"b"}]})");
  EXPECT_NE(response.body.find("metrics[1].value"), std::string::npos) << response.body;
}

TEST_F(MlflowApiTest, SamplesLongHistories) {
  const auto id = new_run();
  for (int i = 0; i < 1000; i += 500) {
    Json metrics = Json::array();
    for (int step = i; step < i + 500; ++step) {
      metrics.push_back({{"key", "m"}, {"value", step}, {"timestamp", step}, {"step", step}});
    }
    good("POST", "runs/log-batch", {{"run_id", id}, {"metrics", metrics}});
  }
  const auto sampled = get("metrics/get-history-bulk-interval",
                           {{"run_ids", id}, {"metric_key", "m"}, {"max_results", "10"}})
                           .at("metrics");
  EXPECT_EQ(sampled.size(), 10U);
  EXPECT_EQ(sampled.front().at("step"), 0);
  EXPECT_EQ(sampled.back().at("step"), 999);
  EXPECT_EQ(sampled.back().at("run_id"), id);
  const auto page =
      get("metrics/get-history", {{"run_id", id}, {"metric_key", "m"}, {"max_results", "600"}});
  EXPECT_EQ(page.at("metrics").size(), 600U);
  const auto rest = get("metrics/get-history", {{"run_id", id},
                                                {"metric_key", "m"},
                                                {"max_results", "600"},
                                                {"page_token", page.at("next_page_token")}});
  EXPECT_EQ(rest.at("metrics").size(), 400U);
  EXPECT_FALSE(rest.contains("next_page_token"));
}

TEST_F(MlflowApiTest, RegistersVersionsAndMovesAliases) {
  good("POST", "registered-models/create", {{"name", "flights"}});
  const auto version = good("POST", "model-versions/create",
                            {{"name", "flights"}, {"source", "runs:/r/model"}, {"run_id", "r"}})
                           .at("model_version");
  EXPECT_EQ(version.at("version"), "1");
  EXPECT_EQ(version.at("status"), "READY");
  good("POST", "registered-models/alias",
       {{"name", "flights"}, {"alias", "champion"}, {"version", "1"}});
  const auto found = get("registered-models/alias", {{"name", "flights"}, {"alias", "champion"}});
  EXPECT_EQ(found.at("model_version").at("aliases"), Json::array({"champion"}));
  const auto model = get("registered-models/get", {{"name", "flights"}}).at("registered_model");
  const Json alias = {{"alias", "champion"}, {"version", "1"}};
  EXPECT_EQ(model.at("aliases"), Json::array({alias}));
  EXPECT_EQ(model.at("latest_versions").size(), 1U);
  EXPECT_EQ(get("model-versions/get-download-uri", {{"name", "flights"}, {"version", "1"}})
                .at("artifact_uri"),
            "runs:/r/model");
  good("DELETE", "registered-models/alias", {{"name", "flights"}, {"alias", "champion"}});
  good("PATCH", "model-versions/update",
       {{"name", "flights"}, {"version", "1"}, {"description", "d"}});
  good("DELETE", "registered-models/delete", {{"name", "flights"}});
}

TEST_F(MlflowApiTest, StoresArtifactsAndGivesThemBackByteForByte) {
  const auto id = new_run();
  const std::string root = "/api/2.0/mlflow-artifacts/artifacts/";
  const std::string run_root = "0/" + id + "/artifacts/";
  std::string bytes = "a\0b\xff\n"s;
  ASSERT_EQ(send("PUT", root + run_root + "dir/x y.bin", bytes).status, 200);
  const auto response = send("GET", root + run_root + "dir/x y.bin");
  EXPECT_EQ(response.body, bytes);
  EXPECT_EQ(response.content_type, "application/octet-stream");
  const auto listed = get("artifacts/list", {{"run_id", id}, {"path", "dir"}});
  const Json file = {{"path", "dir/x y.bin"}, {"is_dir", false}, {"file_size", 5}};
  EXPECT_EQ(listed.at("files"), Json::array({file}));
  const auto proxied =
      send("GET", "/api/2.0/mlflow-artifacts/artifacts", "", {{"path", run_root + "dir"}});
  EXPECT_EQ(Json::parse(proxied.body).at("files").at(0).at("path"), "x y.bin");
  EXPECT_EQ(send("DELETE", root + run_root + "dir").status, 200);
  EXPECT_EQ(send("GET", root + run_root + "dir/x y.bin").status, 404);
  for (const std::string bad : {"../x", "a/../../x", "%2e%2e/x", "a\\b", "/etc/passwd"}) {
    for (const std::string method : {"GET", "PUT", "DELETE"}) {
      EXPECT_EQ(send(method, root + bad, "x").status, 400) << method << " " << bad;
    }
    EXPECT_EQ(send("GET", "/api/2.0/mlflow-artifacts/artifacts", "", {{"path", bad}}).status, 400);
  }
  // Uploads in parts are not routes without their store.
  EXPECT_EQ(send("POST", "/api/2.0/mlflow-artifacts/mpu/create/x", "{}").status, 404);
}

}  // namespace
}  // namespace slipway::api
