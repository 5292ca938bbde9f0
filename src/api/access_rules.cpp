#include "api/access_guard.h"
#include "api/access_rules_internal.h"

namespace slipway::api {
namespace {

using access::Level;

constexpr Subject kAnyone{.about = About::anyone};
constexpr Subject kAdmin{.about = About::admin};
constexpr Subject kWorkspace{.about = About::workspace};
constexpr Subject kExperiment{.about = About::experiment, .fields = {"experiment_id"}};
constexpr Subject kExperimentOrDefault{
    .about = About::experiment, .fields = {"experiment_id"}, .otherwise = "0"};
constexpr Subject kExperiments{.about = About::experiment, .fields = {"experiment_ids"}};
constexpr Subject kRun{.about = About::run, .fields = {"run_id", "run_uuid"}};
constexpr Subject kRuns{.about = About::run, .fields = {"run_ids", "run_id"}};
constexpr Subject kLoggedModel{.about = About::logged_model, .fields = {"model_id"}};
constexpr Subject kTrace{.about = About::trace, .fields = {"trace_id"}};
constexpr Subject kTraces{.about = About::trace, .fields = {"trace_ids"}};
constexpr Subject kModel{.about = About::model, .fields = {"name"}};
constexpr Subject kDeployment{.about = About::deployment, .fields = {"model"}};
constexpr Subject kDeploymentByName{.about = About::deployment, .fields = {"name"}};
constexpr Subject kArtifact{.about = About::artifact, .fields = {"path"}};
constexpr Subject kArtifactFolder{.about = About::artifact, .fields = {"folder"}};
constexpr Subject kSelf{.about = About::self, .fields = {"username"}};
constexpr Subject kGranted{.about = About::granted, .fields = {"resource_type", "resource_id"}};
// Files below a folder one chose could be another experiment's.
constexpr Subject kOwnLocation{.about = About::workspace,
                               .fields = {"artifact_location"},
                               .optional = true,
                               .level = Level::manage};
// A version must not hand out what its maker may not read.
constexpr Subject kSource{
    .about = About::source, .fields = {"source"}, .optional = true, .level = Level::read};
constexpr Subject kSourceRun{
    .about = About::run, .fields = {"run_id"}, .optional = true, .level = Level::read};
constexpr Subject kSourceModel{
    .about = About::logged_model, .fields = {"model_id"}, .optional = true, .level = Level::read};

// A metric may name the logged model it is about.
constexpr Subject kMetricOfModel{
    .about = About::logged_model, .fields = {"model_id", "metrics.model_id"}, .optional = true};

constexpr Rule kRules[] = {
    // Experiments
    {"POST", "mlflow/experiments/create", {{{.about = About::new_experiment}, kOwnLocation}}},
    {"GET", "mlflow/experiments/get", {{kExperiment}}},
    {"GET",
     "mlflow/experiments/get-by-name",
     {{{.about = About::experiment_name, .fields = {"experiment_name"}}}}},
    {"POST", "mlflow/experiments/search", {{kAnyone}}},
    {"GET", "mlflow/experiments/search", {{kAnyone}}},
    {"POST", "mlflow/experiments/update", {{kExperiment}}},
    {"POST", "mlflow/experiments/delete", {{kExperiment}}},
    {"POST", "mlflow/experiments/restore", {{kExperiment}}},
    {"POST", "mlflow/experiments/set-experiment-tag", {{kExperiment}}},
    {"POST", "mlflow/experiments/delete-experiment-tag", {{kExperiment}}},
    {"POST", "mlflow/experiments/search-datasets", {{kExperiments}}},

    // Runs
    {"POST", "mlflow/runs/create", {{kExperimentOrDefault}}},
    {"GET", "mlflow/runs/get", {{kRun}}},
    {"POST", "mlflow/runs/update", {{kRun}}},
    {"POST", "mlflow/runs/delete", {{kRun}}},
    {"POST", "mlflow/runs/restore", {{kRun}}},
    {"POST", "mlflow/runs/search", {{kExperiments}}},
    {"POST", "mlflow/runs/log-metric", {{kRun, kMetricOfModel}}},
    {"POST", "mlflow/runs/log-parameter", {{kRun}}},
    {"POST", "mlflow/runs/log-batch", {{kRun, kMetricOfModel}}},
    {"POST", "mlflow/runs/set-tag", {{kRun}}},
    {"POST", "mlflow/runs/delete-tag", {{kRun}}},
    {"POST", "mlflow/runs/log-inputs", {{kRun}}},
    {"POST", "mlflow/runs/outputs", {{kRun}}},
    {"POST", "mlflow/runs/log-model", {{kRun}}},
    {"GET", "mlflow/metrics/get-history", {{kRun}}},
    {"GET", "mlflow/metrics/get-history-bulk", {{kRuns}}},
    {"GET", "mlflow/metrics/get-history-bulk-interval", {{kRuns}}},
    {"GET", "mlflow/artifacts/list", {{kRun}}},

    // Logged models
    {"POST", "mlflow/logged-models", {{kExperimentOrDefault}}},
    {"POST", "mlflow/logged-models/search", {{kExperiments}}},
    {"GET", "mlflow/logged-models/{model_id}", {{kLoggedModel}}},
    {"PATCH", "mlflow/logged-models/{model_id}", {{kLoggedModel}}},
    {"DELETE", "mlflow/logged-models/{model_id}", {{kLoggedModel}}},
    {"PATCH", "mlflow/logged-models/{model_id}/tags", {{kLoggedModel}}},
    {"DELETE", "mlflow/logged-models/{model_id}/tags/{tag_key}", {{kLoggedModel}}},
    {"POST", "mlflow/logged-models/{model_id}/params", {{kLoggedModel}}},
    {"GET", "mlflow/logged-models/{model_id}/artifacts/directories", {{kLoggedModel}}},
    {"GET", "mlflow/logged-models/{model_id}/artifacts/files", {{kLoggedModel}}},

    // Traces
    {"POST",
     "mlflow/traces",
     {{{.about = About::experiment,
        .fields = {"trace.trace_info.trace_location.mlflow_experiment.experiment_id"}}}}},
    {"POST",
     "mlflow/traces/search",
     {{{.about = About::experiment, .fields = {"locations.mlflow_experiment.experiment_id"}}}}},
    {"GET", "mlflow/traces/get", {{kTrace}}},
    {"GET", "mlflow/traces/batchGet", {{kTraces}}},
    {"POST", "mlflow/traces/batchGetInfos", {{kTraces}}},
    {"POST", "mlflow/traces/delete-traces", {{kExperiment}}},
    {"POST", "mlflow/traces/link-to-run", {{kTraces, kRun}}},
    {"POST", "mlflow/traces/link-prompts", {{kTrace}}},
    {"GET", "mlflow/traces/{trace_id}", {{kTrace}}},
    {"PATCH", "mlflow/traces/{trace_id}/tags", {{kTrace}}},
    {"DELETE", "mlflow/traces/{trace_id}/tags", {{kTrace}}},
    {"POST", "mlflow/traces/{trace_id}/assessments", {{kTrace}}},
    {"GET", "mlflow/traces/{trace_id}/assessments/{assessment_id}", {{kTrace}}},
    {"PATCH", "mlflow/traces/{trace_id}/assessments/{assessment_id}", {{kTrace}}},
    {"DELETE", "mlflow/traces/{trace_id}/assessments/{assessment_id}", {{kTrace}}},
    {"POST",
     "/v1/traces",
     {{{.about = About::experiment, .fields = {"header:x-mlflow-experiment-id"}}}}},

    // Files
    {"GET",
     "mlflow-artifacts/artifacts",
     {{{.about = About::artifact, .fields = {"path"}, .otherwise = "/"}}}},
    {"GET", "mlflow-artifacts/artifacts/{path*}", {{kArtifact}}},
    {"PUT", "mlflow-artifacts/artifacts/{path*}", {{kArtifact}}},
    {"DELETE", "mlflow-artifacts/artifacts/{path*}", {{kArtifact}}},
    {"POST", "mlflow-artifacts/mpu/create/{folder*}", {{kArtifactFolder}}},
    {"POST", "mlflow-artifacts/mpu/complete/{folder*}", {{kArtifactFolder}}},
    {"POST", "mlflow-artifacts/mpu/abort/{folder*}", {{kArtifactFolder}}},
    {"GET", "mlflow-artifacts/presigned/{path*}", {{kArtifact}}},
    {"GET", "/get-artifact", {{kRun}}},
    {"GET", "/model-versions/get-artifact", {{kModel}}},

    // The registry
    {"POST",
     "mlflow/registered-models/create",
     {{{.about = About::new_model, .fields = {"name"}}}}},
    {"GET", "mlflow/registered-models/get", {{kModel}}},
    {"POST",
     "mlflow/registered-models/rename",
     {{kModel, {.about = About::new_model, .fields = {"new_name"}}}}},
    {"PATCH", "mlflow/registered-models/update", {{kModel}}},
    {"DELETE", "mlflow/registered-models/delete", {{kModel}}},
    {"GET", "mlflow/registered-models/search", {{kAnyone}}},
    {"POST", "mlflow/registered-models/get-latest-versions", {{kModel}}},
    {"GET", "mlflow/registered-models/get-latest-versions", {{kModel}}},
    {"POST", "mlflow/registered-models/set-tag", {{kModel}}},
    {"DELETE", "mlflow/registered-models/delete-tag", {{kModel}}},
    {"GET", "mlflow/registered-models/alias", {{kModel}}},
    {"POST", "mlflow/registered-models/alias", {{kModel}}},
    {"DELETE", "mlflow/registered-models/alias", {{kModel}}},
    {"POST", "mlflow/model-versions/create", {{kModel, kSource, kSourceRun, kSourceModel}}},
    {"GET", "mlflow/model-versions/get", {{kModel}}},
    {"PATCH", "mlflow/model-versions/update", {{kModel}}},
    {"DELETE", "mlflow/model-versions/delete", {{kModel}}},
    {"POST", "mlflow/model-versions/transition-stage", {{kModel}}},
    {"GET", "mlflow/model-versions/search", {{kAnyone}}},
    {"GET", "mlflow/model-versions/get-download-uri", {{kModel}}},
    {"POST", "mlflow/model-versions/set-tag", {{kModel}}},
    {"DELETE", "mlflow/model-versions/delete-tag", {{kModel}}},

    // Webhooks
    {"POST", "mlflow/webhooks", {{kWorkspace}}},
    {"GET", "mlflow/webhooks", {{kWorkspace}}},
    {"GET", "mlflow/webhooks/{webhook_id}", {{kWorkspace}}},
    {"PATCH", "mlflow/webhooks/{webhook_id}", {{kWorkspace}}},
    {"DELETE", "mlflow/webhooks/{webhook_id}", {{kWorkspace}}},
    {"POST", "mlflow/webhooks/{webhook_id}/test", {{kWorkspace}}},

    // Users and what they are granted
    {"POST", "mlflow/users/create", {{kAdmin}}},
    {"GET", "mlflow/users/get", {{kSelf}}},
    {"GET", "mlflow/users/list", {{kAdmin}}},
    {"GET", "mlflow/users/current", {{kAnyone}}},
    {"GET", "mlflow/users/current/permissions", {{kAnyone}}},
    {"PATCH", "mlflow/users/update-password", {{kSelf}}},
    {"PATCH", "mlflow/users/update-admin", {{kAdmin}}},
    {"DELETE", "mlflow/users/delete", {{kAdmin}}},
    {"GET", "mlflow/users/permissions/list", {{kSelf}}},
    {"GET", "mlflow/users/permissions/get", {{kSelf}}},
    {"POST", "mlflow/users/permissions/grant", {{kGranted}}},
    {"POST", "mlflow/users/permissions/revoke", {{kGranted}}},
    {"POST", "mlflow/experiments/permissions/create", {{kExperiment}}},
    {"GET", "mlflow/experiments/permissions/get", {{kExperiment}}},
    {"PATCH", "mlflow/experiments/permissions/update", {{kExperiment}}},
    {"DELETE", "mlflow/experiments/permissions/delete", {{kExperiment}}},
    {"POST", "mlflow/registered-models/permissions/create", {{kModel}}},
    {"GET", "mlflow/registered-models/permissions/get", {{kModel}}},
    {"PATCH", "mlflow/registered-models/permissions/update", {{kModel}}},
    {"DELETE", "mlflow/registered-models/permissions/delete", {{kModel}}},

    // Open Inference Protocol
    {"GET", "/v2/models/stats", {{kAnyone}}},
    {"GET", "/v2/models/{model}", {{kDeployment}}},
    {"GET", "/v2/models/{model}/ready", {{kDeployment}}},
    {"GET", "/v2/models/{model}/stats", {{kDeployment}}},
    {"GET", "/v2/models/{model}/config", {{kDeployment}}},
    {"POST", "/v2/models/{model}/infer", {{kDeployment}}},
    {"GET", "/v2/models/{model}/versions/{version}", {{kDeployment}}},
    {"GET", "/v2/models/{model}/versions/{version}/ready", {{kDeployment}}},
    {"GET", "/v2/models/{model}/versions/{version}/stats", {{kDeployment}}},
    {"GET", "/v2/models/{model}/versions/{version}/config", {{kDeployment}}},
    {"POST", "/v2/models/{model}/versions/{version}/infer", {{kDeployment}}},
    {"POST", "/v2/repository/index", {{kAnyone}}},
    {"POST", "/v2/repository/models/{model}/load", {{kDeployment}}},
    {"POST", "/v2/repository/models/{model}/unload", {{kDeployment}}},
    {"POST", "/invocations", {{kAnyone}}},
    {"POST", "/endpoints/{model}/invocations", {{kDeployment}}},

    // slipway's own interface
    {"GET", "/api/v1/deployments", {{kAnyone}}},
    {"GET", "/api/v1/deployments/{name}", {{kDeploymentByName}}},
    {"POST", "/api/v1/deployments/{name}/labels", {{kDeploymentByName}}},
    {"GET", "/api/v1/deployments/{name}/windows", {{kDeploymentByName}}},
    {"GET", "/api/v1/deployments/{name}/settled", {{kDeploymentByName}}},
    {"GET", "/api/v1/predictions/{id}", {{{.about = About::prediction, .fields = {"id"}}}}},
    {"PATCH", "/api/v1/deployments/{name}", {{kDeploymentByName}}},
    {"DELETE", "/api/v1/deployments/{name}", {{kDeploymentByName}}},
    {"GET", "/api/v1/deployments/{name}/at", {{kDeploymentByName}}},
    {"GET", "/api/v1/deployments/{name}/rollouts", {{kDeploymentByName}}},
    {"POST", "/api/v1/deployments/{name}/rollouts", {{kDeploymentByName}}},
    {"POST", "/api/v1/deployments/{name}/rollouts/{action}", {{kDeploymentByName}}},
    {"POST", "/api/v1/predictions/{id}/replay", {{{.about = About::prediction, .fields = {"id"}}}}},
    {"POST", "/api/v1/subjects/erase", {{kWorkspace}}},
    {"GET", "/api/v1/alerts", {{kAnyone}}},
    {"GET", "/api/v1/models/{name}/at", {{kModel}}},
    {"GET", "/api/v1/webhooks/deliveries", {{kWorkspace}}},
    {"POST", "/api/v1/webhooks/{webhook}/replay", {{kWorkspace}}},
    {"POST", "/api/v1/gc", {{kWorkspace}}},
    {"POST", "/api/v1/imports", {{kWorkspace}}},
    {"GET", "/api/v1/imports/{job}", {{kWorkspace}}},
    {"POST", "/api/v1/pipelines/runs", {{kWorkspace}}},
    {"GET", "/api/v1/pipelines/runs", {{kWorkspace}}},
    {"GET", "/api/v1/pipelines/runs/{id}", {{kWorkspace}}},
    {"GET", "/api/v1/jobs/{id}", {{kWorkspace}}},
    {"POST", "/api/v1/jobs/{id}/cancel", {{kWorkspace}}},
    {"GET", "/api/v1/audit", {{kWorkspace}}},
    {"GET", "/metrics", {{kWorkspace}}},
};

constexpr std::string_view kMlflowPrefixes[] = {"/api/2.0/", "/ajax-api/2.0/", "/api/3.0/",
                                                "/ajax-api/3.0/"};

RuleDescription described(const Rule& rule) {
  return {std::string(rule.method), std::string(rule.pattern),
          std::string(word(rule.subjects[0].about))};
}

}  // namespace

std::string_view word(About about) {
  switch (about) {
    case About::nothing:
      return "nothing";
    case About::anyone:
      return "anyone";
    case About::self:
      return "self";
    case About::admin:
      return "admin";
    case About::workspace:
      return "workspace";
    case About::experiment:
    case About::experiment_name:
      return "experiment";
    case About::run:
      return "run";
    case About::logged_model:
      return "logged model";
    case About::trace:
      return "trace";
    case About::artifact:
      return "file";
    case About::source:
      return "source";
    case About::model:
      return "registered model";
    case About::deployment:
      return "model";  // as the Open Inference Protocol calls it
    case About::prediction:
      return "prediction";
    case About::granted:
      return "granted";
    case About::new_experiment:
    case About::new_model:
      return "new";
  }
  return "nothing";
}

std::optional<RuleDescription> describe_rule(const server::Router::Route& route) {
  const Rule* rule = find_rule(route);
  if (rule == nullptr) return std::nullopt;
  return described(*rule);
}

std::vector<RuleDescription> described_rules() {
  std::vector<RuleDescription> all;
  for (const Rule& rule : kRules) all.push_back(described(rule));
  return all;
}

const Rule* find_rule(const server::Router::Route& route) {
  std::string_view pattern = route.pattern;
  for (const std::string_view prefix : kMlflowPrefixes) {
    if (pattern.starts_with(prefix)) pattern.remove_prefix(prefix.size());
  }
  for (const Rule& rule : kRules) {
    if (rule.method == route.method && rule.pattern == pattern) return &rule;
  }
  return nullptr;
}

}  // namespace slipway::api
