// What the files of the MLflow interface share: reading a call's parameters, and writing answers.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/mlflow_api.h"
#include "base/json.h"
#include "registry/registry.h"
#include "tracking/tracking.h"

namespace slipway::webhooks {
class Webhooks;
}
namespace slipway::tracing {
class Traces;
}

namespace slipway::api {
class JsonWriter;
}

namespace slipway::api::mlflow {

// The parameters of one call: the JSON body, or the query of a GET, and the parts of the path. The
// first wrong one is kept as problem(); readers then go on with defaults, so that a handler asks
// once, after reading all. 64-bit numbers may come as text.
class Params {
 public:
  static Result<Params> read(const server::Request& request);

  std::string text(std::string_view name);           // required, not empty
  std::string text_or_empty(std::string_view name);  // missing: ""
  std::optional<std::string> maybe_text(std::string_view name);
  std::int64_t integer(std::string_view name);  // required
  std::int64_t integer(std::string_view name, std::int64_t missing);
  std::optional<std::int64_t> maybe_integer(std::string_view name);
  double number(std::string_view name);  // required; also "NaN", "Infinity", "-Infinity"
  bool flag(std::string_view name, bool missing);
  bool has(std::string_view name) const { return find(name) != nullptr; }
  const Json& json() const { return value_; }                          // all of it, an object
  std::map<std::string, std::string> text_map(std::string_view name);  // missing: empty
  std::vector<std::string> texts(std::string_view name);  // one text counts as a list of one
  std::vector<Params> objects(std::string_view name);
  Params object(std::string_view name);  // required

  tracking::RunId run_id();  // "run_id", or "run_uuid" as old clients say
  tracking::ExperimentId experiment_id(std::string_view name = "experiment_id");
  tracking::View view(std::string_view name);
  tracking::Tags tags();   // "tags": [{"key", "value"}]
  std::int64_t version();  // of a model: text on the wire

  const std::optional<Error>& problem() const { return *problem_; }
  void fail(Error error) {
    if (!*problem_) *problem_ = std::move(error);
  }

 private:
  Params(Json value, std::string place, std::shared_ptr<std::optional<Error>> problem)
      : value_(std::move(value)), place_(std::move(place)), problem_(std::move(problem)) {}
  const Json* find(std::string_view name) const;  // null when missing or JSON null
  void invalid(std::string_view name, const Json& value, std::string_view wanted);
  void missing(std::string_view name);

  Json value_;         // an object
  std::string place_;  // "metrics[3]." of a nested object
  std::shared_ptr<std::optional<Error>> problem_;
};

struct Services {
  tracking::Tracking& tracking;
  registry::Registry& registry;
  blob::Store& store;
  webhooks::Webhooks* webhooks = nullptr;  // null: none in this program
  tracing::Traces* traces = nullptr;       // likewise
};

using Call = Result<Json> (*)(Services&, const Context&, Params&);
using TextCall = Result<std::string> (*)(Services&, const Context&, Params&);  // JSON
struct Endpoint {
  std::string_view method;
  std::string_view path;  // below …/mlflow/
  server::Access access;
  Call call = nullptr;      // one of the two
  TextCall text = nullptr;  // for long answers
};
std::span<const Endpoint> experiment_endpoints();
std::span<const Endpoint> run_endpoints();
std::span<const Endpoint> history_endpoints();
std::span<const Endpoint> logged_model_endpoints();
std::span<const Endpoint> registry_endpoints();
std::span<const Endpoint> webhook_endpoints();
void add_trace_routes(server::Router& router, const std::shared_ptr<Services>& services);
server::Response answer(Services& services, const Endpoint& endpoint, const Context& ctx,
                        const server::Request& request);
void add_logging_routes(server::Router& router, const std::shared_ptr<Services>& services);
void add_server_info_routes(server::Router& router);
void add_artifact_routes(server::Router& router, const std::shared_ptr<Services>& services,
                         const MlflowExtras& extras);

Json to_json(const tracking::Experiment& experiment);
void write_run(JsonWriter& json, const tracking::Run& run);
void write_run_info(JsonWriter& json, const tracking::Run& run);
Json to_json(const registry::ModelVersion& version);
Json to_json(const registry::RegisteredModel& model,
             std::span<const registry::ModelVersion> latest);
// [{"key", "value"}, …]
Json tag_list(const tracking::Tags& tags);
// {} when it went well.
Result<Json> empty_or(const Result<void>& result);
// Puts "next_page_token" only where a page follows, as MLflow does.
Json with_page(Json answer, const std::string& next_page);

}  // namespace slipway::api::mlflow
