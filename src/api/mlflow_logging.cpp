// runs/log-metric and runs/log-batch: what training loops call without end. Their bodies are read
// in one pass, and no thread waits for the disk: the answer is sent from the database's writer when
// the points are durable. A body that this reader does not take at once is left to Params, which
// accepts more spellings and says what is wrong with the rest.
#include <cmath>
#include <limits>
#include <optional>

#include "api/json_cursor_internal.h"
#include "api/mlflow_internal.h"
#include "base/parallel.h"

namespace slipway::api::mlflow {
namespace {

using server::Request;
using server::Respond;
using server::Response;
using tracking::Batch;
using tracking::Metric;

// Larger bodies would hold up an io thread: they are read on a thread of their own.
constexpr std::size_t kLargeBody = 256 * 1024;

struct Logging {
  explicit Logging(std::shared_ptr<Services> all) : services(std::move(all)), large(1) {}
  const std::shared_ptr<Services> services;
  WorkerPool large;
};

struct LogCall {
  tracking::RunId run;
  Batch batch;
};

bool read_text(JsonCursor& json, std::string& to) {
  std::string_view text;
  if (!json.read_string(text)) return false;
  to = text;
  return true;
}

bool read_integer(JsonCursor& json, std::int64_t& to) {
  JsonCursor::Number number;
  if (json.kind() != JsonCursor::Kind::number || !json.read_number(number)) return false;
  to = number.integer;
  return number.is_integer;
}

bool read_value(JsonCursor& json, double& to) {
  if (json.kind() == JsonCursor::Kind::number) {
    JsonCursor::Number number;
    const bool read = json.read_number(number);
    to = number.real;
    return read;
  }
  std::string_view text;
  if (json.kind() != JsonCursor::Kind::string || !json.read_string(text)) return false;
  if (text == "NaN")
    to = std::numeric_limits<double>::quiet_NaN();
  else if (text == "Infinity")
    to = std::numeric_limits<double>::infinity();
  else if (text == "-Infinity")
    to = -std::numeric_limits<double>::infinity();
  else
    return false;
  return true;
}

// What a metric must have.
struct Seen {
  bool value = false;
  bool timestamp = false;
};

// One field of a metric; false when it is another, or not plain.
bool read_metric_field(JsonCursor& json, std::string_view name, Metric& metric, Seen& seen) {
  if (name == "key") return read_text(json, metric.key);
  if (name == "value") return seen.value = read_value(json, metric.value);
  if (name == "timestamp") return seen.timestamp = read_integer(json, metric.timestamp_ms);
  if (name == "step") return read_integer(json, metric.step);
  return false;
}

bool is_whole(const Metric& metric, const Seen& seen) {
  return seen.value && seen.timestamp && !metric.key.empty();
}

bool read_metric(JsonCursor& json, Metric& metric) {
  Seen seen;
  if (!json.begin_object()) return false;
  for (std::string_view name; json.next_key(name);) {
    if (!read_metric_field(json, name, metric, seen)) return false;
  }
  return json.ok() && is_whole(metric, seen);
}

bool read_pair(JsonCursor& json, tracking::Param& pair) {
  if (!json.begin_object()) return false;
  for (std::string_view name; json.next_key(name);) {
    const bool read = name == "key"     ? read_text(json, pair.key)
                      : name == "value" ? read_text(json, pair.value)
                                        : false;
    if (!read) return false;
  }
  return json.ok() && !pair.key.empty();
}

template <class T, class Read>
bool read_list(JsonCursor& json, std::vector<T>& list, Read read) {
  list.clear();  // the last of doubled names counts
  if (!json.begin_array()) return false;
  while (json.next_item()) {
    if (!read(json, list.emplace_back())) return false;
  }
  return json.ok();
}

// "run_id", or "run_uuid" as old clients say; new ones send both.
struct RunNames {
  std::string id;
  std::string old;
  bool read(JsonCursor& json, std::string_view name) {
    return name == "run_id" ? read_text(json, id) : name == "run_uuid" && read_text(json, old);
  }
  std::optional<tracking::RunId> get() {
    std::string& name = id.empty() ? old : id;
    if (name.empty()) return std::nullopt;
    return tracking::RunId{std::move(name)};
  }
};

std::optional<LogCall> read_metric_call(std::string_view body) {
  JsonCursor json(body, 8);
  RunNames run;
  Metric metric;
  Seen seen;
  if (!json.begin_object()) return std::nullopt;
  for (std::string_view name; json.next_key(name);) {
    if (name.starts_with("run_") ? !run.read(json, name)
                                 : !read_metric_field(json, name, metric, seen)) {
      return std::nullopt;
    }
  }
  auto id = run.get();
  if (!json.finish() || !id || !is_whole(metric, seen)) return std::nullopt;
  LogCall call{.run = *std::move(id), .batch = {}};
  call.batch.metrics.push_back(std::move(metric));
  return call;
}

std::optional<LogCall> read_batch_call(std::string_view body) {
  JsonCursor json(body, 8);
  RunNames run;
  Batch batch;
  if (!json.begin_object()) return std::nullopt;
  for (std::string_view name; json.next_key(name);) {
    const bool read = name == "metrics"  ? read_list(json, batch.metrics, read_metric)
                      : name == "params" ? read_list(json, batch.params, read_pair)
                      : name == "tags"   ? read_list(json, batch.tags, read_pair)
                                         : run.read(json, name);
    if (!read) return std::nullopt;
  }
  auto id = run.get();
  if (!json.finish() || !id) return std::nullopt;
  return LogCall{.run = *std::move(id), .batch = std::move(batch)};
}

// The same by Params. A point that names a logged model is one of that model, too.
void read_metric(Params& params, Batch& batch) {
  batch.metrics.push_back({.key = params.text("key"),
                           .value = params.number("value"),
                           .timestamp_ms = params.integer("timestamp"),
                           .step = params.integer("step", 0)});
  auto model_id = params.text_or_empty("model_id");
  if (model_id.empty()) return;
  batch.model_metrics.push_back({.model_id = std::move(model_id),
                                 .run_id = {},
                                 .metric = batch.metrics.back(),
                                 .dataset_name = params.text_or_empty("dataset_name"),
                                 .dataset_digest = params.text_or_empty("dataset_digest")});
}

std::vector<tracking::Param> read_pairs(Params& params, std::string_view name) {
  std::vector<tracking::Param> pairs;
  for (auto& pair : params.objects(name)) {
    auto key = pair.text("key");
    pairs.push_back({std::move(key), pair.text_or_empty("value")});
  }
  return pairs;
}

Result<LogCall> read_metric_params(const Request& request) {
  auto params = Params::read(request);
  if (!params) return params.error();
  LogCall call{.run = params->run_id(), .batch = {}};
  read_metric(*params, call.batch);
  if (params->problem()) return *params->problem();
  return call;
}

Result<LogCall> read_batch_params(const Request& request) {
  auto params = Params::read(request);
  if (!params) return params.error();
  LogCall call{.run = params->run_id(), .batch = {}};
  for (auto& metric : params->objects("metrics")) read_metric(metric, call.batch);
  call.batch.params = read_pairs(*params, "params");
  call.batch.tags = read_pairs(*params, "tags");
  if (params->problem()) return *params->problem();
  return call;
}

struct Endpoint {
  std::string_view path;
  std::optional<LogCall> (*read)(std::string_view body);
  Result<LogCall> (*read_with_care)(const Request& request);
};
constexpr Endpoint kEndpoints[] = {
    {"runs/log-metric", read_metric_call, read_metric_params},
    {"runs/log-batch", read_batch_call, read_batch_params},
};

void log(Services& services, const Endpoint& endpoint, const Request& request,
         const Respond& respond) {
  auto call = endpoint.read(request.body);
  if (!call) {
    auto read = endpoint.read_with_care(request);
    if (!read) return respond(mlflow_error(read.error()));
    call = *std::move(read);
  }
  services.tracking.log_batch_async(
      std::move(call->run), std::move(call->batch), [respond](const Result<void>& logged) {
        respond(logged ? server::json_text(200, "{}") : mlflow_error(logged.error()));
      });
}

}  // namespace

void add_logging_routes(server::Router& router, const std::shared_ptr<Services>& services) {
  const auto shared = std::make_shared<Logging>(services);
  for (const std::string_view prefix : {"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"}) {
    for (const auto& endpoint : kEndpoints) {
      router.add_async(
          "POST", std::string(prefix) + std::string(endpoint.path), server::Access::edit,
          mlflow_error,
          [shared, &endpoint](const Context&, const std::shared_ptr<Request>& request,
                              const Respond& respond) {
            if (request->body.size() <= kLargeBody) {
              return log(*shared->services, endpoint, *request, respond);
            }
            shared->large.post([services = shared->services, &endpoint, request, respond] {
              try {
                log(*services, endpoint, *request, respond);
              } catch (const std::exception& e) {
                respond(
                    mlflow_error(internal(fmt::format("a batch cannot be read: {}", e.what()))));
              }
            });
          });
    }
  }
}

}  // namespace slipway::api::mlflow
