// Runs as MLflow's clients read them. Searches answer thousands: they are written without a tree.
#include "api/json_writer_internal.h"
#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

void write_pair(JsonWriter& json, std::string_view key, std::string_view value) {
  json.begin('{').name("key").text(key).name("value").text(value).end('}');
}

void write_tags(JsonWriter& json, const tracking::Tags& tags) {
  json.name("tags").begin('[');
  for (const auto& [key, value] : tags) write_pair(json, key, value);
  json.end(']');
}

void write_data(JsonWriter& json, const tracking::Run& run) {
  json.begin('{').name("metrics").begin('[');
  for (const auto& metric : run.metrics) {
    json.begin('{').name("key").text(metric.key).name("value").number(metric.value);
    json.name("timestamp").number(metric.timestamp_ms).name("step").number(metric.step).end('}');
  }
  json.end(']').name("params").begin('[');
  for (const auto& [key, value] : run.params) write_pair(json, key, value);
  json.end(']');
  write_tags(json, run.tags);
  json.end('}');
}

void write_dataset(JsonWriter& json, const tracking::DatasetInput& input) {
  json.begin('{').name("dataset").begin('{');
  json.name("name").text(input.name).name("digest").text(input.digest);
  json.name("source_type").text(input.source_type).name("source").text(input.source);
  json.name("schema").text(input.schema).name("profile").text(input.profile).end('}');
  write_tags(json, input.tags);
  json.end('}');
}

}  // namespace

void write_run_info(JsonWriter& json, const tracking::Run& run) {
  json.begin('{').name("run_id").text(run.id.value).name("run_uuid").text(run.id.value);
  json.name("run_name").text(run.name).name("experiment_id").text(run.experiment.text());
  json.name("user_id").text(run.user).name("status").text(tracking::to_string(run.status));
  json.name("start_time").number(run.start_ms);
  if (run.end_ms) json.name("end_time").number(*run.end_ms);
  json.name("artifact_uri").text(run.artifact_uri);
  json.name("lifecycle_stage").text(run.deleted ? "deleted" : "active").end('}');
}

void write_run(JsonWriter& json, const tracking::Run& run) {
  json.begin('{').name("info");
  write_run_info(json, run);
  json.name("data");
  write_data(json, run);
  json.name("inputs").begin('{').name("dataset_inputs").begin('[');
  for (const auto& input : run.datasets) write_dataset(json, input);
  json.end(']').name("model_inputs").begin('[');
  for (const auto& link : run.model_inputs) {
    json.begin('{').name("model_id").text(link.model_id).end('}');
  }
  json.end(']').end('}').name("outputs").begin('{').name("model_outputs").begin('[');
  for (const auto& link : run.model_outputs) {
    json.begin('{').name("model_id").text(link.model_id).name("step").number(link.step).end('}');
  }
  json.end(']').end('}').end('}');
}

}  // namespace slipway::api::mlflow
