#include "api/imports_api.h"

#include "api/slipway_api.h"
#include "base/json.h"

namespace slipway::api {
namespace {

constexpr int kMostThreads = 32;

Result<transfer::ImportOptions> read_options(const Json& body) {
  transfer::ImportOptions options;
  if (!body.is_object())
    return invalid_argument(R"(the body has to be {"source": "http://mlflow.example.org:5000"})");
  for (const auto& [key, value] : body.items()) {
    if (key == "source" && value.is_string()) {
      options.source = value.get<std::string>();
    } else if (key == "artifact_root" && value.is_string()) {
      options.artifacts = value.get<std::string>();
    } else if (key == "with_artifacts" && value.is_boolean()) {
      options.with_artifacts = value.get<bool>();
    } else if (key == "again" && value.is_boolean()) {
      options.again = value.get<bool>();
    } else if (key == "threads" && value.is_number_integer() && value.get<int>() >= 1 &&
               value.get<int>() <= kMostThreads) {
      options.threads = value.get<int>();
    } else if (key == "experiments" && value.is_array() &&
               std::ranges::all_of(value, [](const Json& name) { return name.is_string(); })) {
      options.experiments = value.get<std::vector<std::string>>();
    } else if (key != "actor") {
      return invalid_argument(
          "'" + key +
          "' is not known here, or has a wrong value: wanted source, "
          "artifact_root (texts), experiments (names), with_artifacts, again (true "
          "or false), threads (1 to 32)");
    }
  }
  if (auto valid = options.validate(); !valid) return valid.error();
  return options;
}

Json to_json(const transfer::ImportProgress& at) {
  return {{"what", at.what},     {"runs", at.runs},   {"total_runs", at.total_runs},
          {"points", at.points}, {"files", at.files}, {"bytes", at.bytes}};
}

}  // namespace

server::Response Imports::post(const Context& ctx, const server::Request& request) {
  auto body = parse_json(request.body, "the body");
  if (!body) return slipway_error(body.error());
  if (auto options = read_options(*body); !options) return slipway_error(options.error());
  (*body)["actor"] = ctx.principal.name;
  auto queued = queue_.enqueue({.kind = kJob, .payload = *body, .max_attempts = 3});
  if (!queued) return slipway_error(queued.error());
  return answer(202, {{"job", queued->id}});
}

server::Response Imports::get(const server::Request& request) const {
  auto job = queue_.get(request.param("job"));
  if (!job) return slipway_error(job.error());
  if (job->kind != kJob)
    return slipway_error(not_found("job '" + job->id + "' is no import: see /api/v1/jobs"));
  Json shown = {{"job", job->id},
                {"source", job->payload.value("source", "")},
                {"state", jobs::to_string(job->state)},
                {"error", job->error}};
  if (job->state == jobs::JobState::succeeded) shown["report"] = job->result;
  progress_.with([&](const auto& all) {
    if (const auto at = all.find(job->id); at != all.end()) shown["progress"] = to_json(at->second);
  });
  return answer(200, shown);
}

Result<Json> Imports::work(const Context& ctx, const jobs::Job& job) {
  auto options = read_options(job.payload);
  if (!options) return options.error();
  options->user = credentials_.user;
  options->password = credentials_.password;
  options->token = credentials_.token;
  Context as_asker = ctx;
  as_asker.principal.name = job.payload.value("actor", ctx.principal.name);
  transfer::MlflowImport import(parts_, *options);
  auto report = import.run(as_asker, [&](const transfer::ImportProgress& at) {
    progress_.with([&](auto& all) { all[job.id] = at; });
  });
  progress_.with([&](auto& all) { all.erase(job.id); });
  if (report) return report->to_json();
  const Code code = report.error().code;
  const bool may_heal = code == Code::unavailable || code == Code::deadline_exceeded ||
                        code == Code::cancelled || code == Code::storage_full;
  // What cannot be read now is not there in ten seconds either: the job ends.
  return may_heal ? report.error() : failed_precondition(report.error().message);
}

void Imports::add_routes(server::Router& router) {
  router.add(
      "POST", "/api/v1/imports", server::Access::manage, slipway_error,
      [this](const Context& ctx, const server::Request& request) { return post(ctx, request); });
  router.add("GET", "/api/v1/imports/{job}", server::Access::manage, slipway_error,
             [this](const Context&, const server::Request& request) { return get(request); });
}

}  // namespace slipway::api
