// A running MLflow server, read by its REST interface:
// https://mlflow.org/docs/latest/rest-api.html.
#include <cmath>
#include <limits>

#include "base/hash.h"
#include "blob/stream.h"
#include "net/http_client.h"
#include "transfer/mlflow_source_internal.h"

namespace slipway::transfer {
namespace {

constexpr int kTries = 4;
constexpr std::size_t kMostAnswer = std::size_t{512} << 20;
constexpr int kDeepestFolder = 64;

// ---- reading JSON as MLflow writes it: 64-bit numbers may be texts, empty fields are left out
// ----

std::string text(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return {};
  return at->is_string() ? at->get<std::string>() : at->dump();
}

std::int64_t integer(const Json& object, const char* key, std::int64_t missing = 0) {
  const auto at = object.find(key);
  if (at == object.end()) return missing;
  if (at->is_number()) return at->get<std::int64_t>();
  if (!at->is_string()) return missing;
  const auto& digits = at->get_ref<const std::string&>();
  std::int64_t value = missing;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

std::optional<std::int64_t> maybe_integer(const Json& object, const char* key) {
  if (!object.contains(key) || object.at(key).is_null()) return std::nullopt;
  return integer(object, key);
}

double number(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end()) return 0;
  if (at->is_number()) return at->get<double>();
  if (!at->is_string()) return 0;
  const auto& word = at->get_ref<const std::string&>();
  if (word == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (word == "Infinity") return std::numeric_limits<double>::infinity();
  if (word == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::strtod(word.c_str(), nullptr);
}

const Json& list(const Json& object, const char* key) {
  static const Json kNone = Json::array();
  const auto at = object.find(key);
  return at != object.end() && at->is_array() ? *at : kNone;
}

const Json& object_in(const Json& object, const char* key) {
  static const Json kNone = Json::object();
  const auto at = object.find(key);
  return at != object.end() && at->is_object() ? *at : kNone;
}

std::map<std::string, std::string> tags(const Json& object) {
  std::map<std::string, std::string> read;
  for (const Json& tag : list(object, "tags")) read[text(tag, "key")] = text(tag, "value");
  return read;
}

std::vector<tracking::Param> params(const Json& object) {
  std::vector<tracking::Param> read;
  for (const Json& param : list(object, "params"))
    read.push_back({text(param, "key"), text(param, "value")});
  return read;
}

tracking::Metric metric(const Json& json) {
  return {.key = text(json, "key"),
          .value = number(json, "value"),
          .timestamp_ms = integer(json, "timestamp"),
          .step = integer(json, "step")};
}

bool is_deleted(const Json& info) { return text(info, "lifecycle_stage") == "deleted"; }

SourceRun read_run(const Json& json, std::int64_t now_ms) {
  SourceRun read;
  const Json& info = object_in(json, "info");
  const Json& data = object_in(json, "data");
  tracking::Run& run = read.run;
  run.id = {text(info, "run_id")};
  run.experiment = tracking::ExperimentId::parse(text(info, "experiment_id"))
                       .value_or(tracking::kDefaultExperiment);
  run.name = text(info, "run_name");
  run.user = text(info, "user_id");
  run.status =
      tracking::parse_run_status(text(info, "status")).value_or(tracking::RunStatus::running);
  run.start_ms = integer(info, "start_time");
  run.end_ms = maybe_integer(info, "end_time");
  run.artifact_uri = text(info, "artifact_uri");
  run.deleted = is_deleted(info);
  // REST does not say when: counted from the time of the import on, the run is kept long enough.
  if (run.deleted) read.deleted_ms = now_ms;
  for (const Json& point : list(data, "metrics")) run.metrics.push_back(metric(point));
  run.params = params(data);
  run.tags = tags(data);
  const Json& inputs = object_in(json, "inputs");
  for (const Json& input : list(inputs, "dataset_inputs")) {
    const Json& dataset = object_in(input, "dataset");
    run.datasets.push_back({.name = text(dataset, "name"),
                            .digest = text(dataset, "digest"),
                            .source_type = text(dataset, "source_type"),
                            .source = text(dataset, "source"),
                            .schema = text(dataset, "schema"),
                            .profile = text(dataset, "profile"),
                            .tags = tags(input)});
  }
  for (const Json& link : list(inputs, "model_inputs"))
    run.model_inputs.push_back({text(link, "model_id"), integer(link, "step")});
  for (const Json& link : list(object_in(json, "outputs"), "model_outputs"))
    run.model_outputs.push_back({text(link, "model_id"), integer(link, "step")});
  return read;
}

std::string percent_encoded(std::string_view path, bool keep_slashes) {
  std::string out;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte < 0x80 && std::isalnum(byte) != 0) ||
                       std::string_view("-._~").find(c) != std::string_view::npos ||
                       (keep_slashes && c == '/');
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return out;
}

class RestSource final : public MlflowSource {
 public:
  RestSource(std::string url, net::EgressPolicy policy, const Clock& clock,
             const ImportOptions& options)
      : url_(std::move(url)), clock_(clock), http_(std::move(policy), clock) {
    headers_.emplace_back("Accept", "application/json");
    if (!options.token.empty()) {
      headers_.emplace_back("Authorization", "Bearer " + options.token);
    } else if (!options.user.empty()) {
      headers_.emplace_back("Authorization",
                            "Basic " + to_base64(options.user + ":" + options.password));
    }
  }

  Result<std::vector<SourceExperiment>> experiments(const Context& ctx) override {
    std::vector<SourceExperiment> read;
    auto walked = pages(
        ctx,
        [&](const std::string& page) {
          return post(ctx, "experiments/search",
                      {{"view_type", "ALL"}, {"max_results", 1000}, {"page_token", page}});
        },
        [&](const Json& answer) -> Result<void> {
          for (const Json& json : list(answer, "experiments")) {
            auto id = tracking::ExperimentId::parse(text(json, "experiment_id"));
            if (!id) return id.error();
            SourceExperiment one{
                .experiment = {.id = *id,
                               .name = text(json, "name"),
                               .artifact_location = text(json, "artifact_location"),
                               .created_ms = integer(json, "creation_time"),
                               .updated_ms = integer(json, "last_update_time"),
                               .deleted = is_deleted(json),
                               .tags = tags(json)}};
            if (one.experiment.deleted) one.deleted_ms = one.experiment.updated_ms;
            read.push_back(std::move(one));
          }
          return {};
        });
    if (!walked) return walked.error();
    return read;
  }

  Result<std::optional<Counts>> totals(const Context&,
                                       std::span<const tracking::ExperimentId>) override {
    return std::optional<Counts>();  // only by reading all of them
  }

  Result<tracking::Page<SourceRun>> runs(const Context& ctx, tracking::ExperimentId id,
                                         const std::string& page) override {
    auto answer = post(ctx, "runs/search",
                       {{"experiment_ids", {id.text()}},
                        {"run_view_type", "ALL"},
                        {"max_results", 200},
                        {"order_by", {"attributes.start_time ASC"}},
                        {"page_token", page}});
    if (!answer) return answer.error();
    tracking::Page<SourceRun> read;
    for (const Json& run : list(*answer, "runs"))
      read.items.push_back(read_run(run, to_millis(clock_.now())));
    read.next_page = text(*answer, "next_page_token");
    return read;
  }

  Result<void> history(const Context& ctx, const tracking::Run& run, std::size_t most,
                       const TakePoints& take) override {
    for (const tracking::Metric& latest : run.metrics) {
      std::vector<tracking::Metric> points;
      auto walked = pages(
          ctx,
          [&](const std::string& page) {
            return get(ctx, fmt::format("metrics/get-history?run_id={}&metric_key={}&max_results="
                                        "25000{}",
                                        run.id.value, percent_encoded(latest.key, false),
                                        page_query(page)));
          },
          [&](const Json& answer) -> Result<void> {
            for (const Json& json : list(answer, "metrics")) {
              points.push_back(metric(json));
              points.back().key = latest.key;
              if (points.size() == most) {
                if (auto taken = take(points); !taken) return taken;
                points.clear();
              }
            }
            return {};
          });
      if (!walked) return walked;
      if (!points.empty()) {
        if (auto taken = take(points); !taken) return taken;
      }
    }
    return {};
  }

  Result<std::vector<SourceModel>> logged_models(const Context& ctx,
                                                 tracking::ExperimentId id) override {
    std::vector<SourceModel> read;
    auto walked = pages(
        ctx,
        [&](const std::string& page) {
          return post(ctx, "logged-models/search",
                      {{"experiment_ids", {id.text()}}, {"max_results", 50}, {"page_token", page}});
        },
        [&](const Json& answer) -> Result<void> {
          for (const Json& json : list(answer, "models"))
            read.push_back({read_model(json, id), {}});
          return {};
        });
    // Servers older than 3.0 have no logged models.
    if (!walked && walked.error().code == Code::not_found) return std::vector<SourceModel>();
    if (!walked) return walked.error();
    return read;
  }

  Result<std::vector<registry::RegisteredModel>> models(const Context& ctx) override {
    std::map<std::string, registry::RegisteredModel> read;
    // Prompts are registered models that are hidden unless they are asked for.
    for (const std::string_view filter : {"", "tags.`mlflow.prompt.is_prompt` = 'true'"}) {
      auto walked = pages(
          ctx,
          [&](const std::string& page) {
            return get(ctx, fmt::format("registered-models/search?max_results=100&filter={}{}",
                                        percent_encoded(filter, false), page_query(page)));
          },
          [&](const Json& answer) -> Result<void> {
            for (const Json& json : list(answer, "registered_models")) {
              registry::RegisteredModel model{
                  .name = text(json, "name"),
                  .description = text(json, "description"),
                  .created = from_millis(integer(json, "creation_timestamp")),
                  .updated = from_millis(integer(json, "last_updated_timestamp")),
                  .tags = tags(json)};
              for (const Json& alias : list(json, "aliases"))
                model.aliases[text(alias, "alias")] = integer(alias, "version");
              std::string name = model.name;
              read.insert_or_assign(std::move(name), std::move(model));
            }
            return {};
          });
      if (!walked && filter.empty()) return walked.error();
    }
    std::vector<registry::RegisteredModel> models;
    for (auto& [name, model] : read) models.push_back(std::move(model));
    return models;
  }

  Result<std::vector<registry::ModelVersion>> versions(const Context& ctx,
                                                       const std::string& model) override {
    std::map<std::int64_t, registry::ModelVersion> read;
    const std::string name =
        model.find('\'') == std::string::npos ? "'" + model + "'" : "\"" + model + "\"";
    for (const std::string& filter :
         {"name=" + name, "name=" + name + " and tags.`mlflow.prompt.is_prompt` = 'true'"}) {
      auto walked = pages(
          ctx,
          [&](const std::string& page) {
            return get(ctx, fmt::format("model-versions/search?max_results=1000&filter={}{}",
                                        percent_encoded(filter, false), page_query(page)));
          },
          [&](const Json& answer) -> Result<void> {
            for (const Json& json : list(answer, "model_versions")) {
              registry::ModelVersion version{
                  .model = model,
                  .number = integer(json, "version"),
                  .source = text(json, "source"),
                  .run_id = text(json, "run_id"),
                  .description = text(json, "description"),
                  .status = text(json, "status"),
                  .stage = text(json, "current_stage"),
                  .user = text(json, "user_id"),
                  .model_id = text(json, "model_id"),
                  .run_link = text(json, "run_link"),
                  .created = from_millis(integer(json, "creation_timestamp")),
                  .updated = from_millis(integer(json, "last_updated_timestamp")),
                  .tags = tags(json)};
              const std::int64_t number = version.number;
              read.insert_or_assign(number, std::move(version));
            }
            return {};
          });
      if (!walked) return walked.error();
      if (!read.empty()) break;
    }
    std::vector<registry::ModelVersion> versions;
    for (auto& [number, version] : read) versions.push_back(std::move(version));
    return versions;
  }

  Result<std::vector<SourceFile>> files(const Context& ctx, const Owner& owner) override {
    std::vector<SourceFile> found;
    if (auto walked = walk(ctx, owner, "", 0, found); !walked) return walked.error();
    return found;
  }

  Result<blob::Ref> fetch(const Context& ctx, const Owner& owner, const SourceFile& file,
                          blob::Store& store) override {
    std::string target;
    if (const auto root = proxied(owner.artifact_uri)) {
      target =
          "/api/2.0/mlflow-artifacts/artifacts/" + percent_encoded(*root + "/" + file.path, true);
    } else if (owner.kind == Owner::Kind::run) {
      target = fmt::format("/get-artifact?run_uuid={}&path={}", owner.id,
                           percent_encoded(file.path, false));
    } else {
      target =
          fmt::format("/ajax-api/2.0/mlflow/logged-models/{}/artifacts/files?artifact_file_path={}",
                      percent_encoded(owner.id, false), percent_encoded(file.path, false));
    }
    for (int attempt = 1;; ++attempt) {
      auto writer = blob::Writer::open(store);
      if (!writer) return writer.error();
      net::HttpRequest request{
          .url = url_ + target,
          .headers = headers_,
          .timeout = std::chrono::hours{24},
          .sink = [&](std::string_view piece) { return (*writer)->append(piece); },
          .stall = std::chrono::seconds{60}};
      auto answer = http_.send(ctx, request);
      auto checked = check(target, answer);
      if (checked && file.size >= 0 && (*writer)->size() != file.size) {
        checked = unavailable(
            fmt::format("'{}' has {} bytes, {} came", file.path, file.size, (*writer)->size()));
      }
      if (checked) return (*writer)->commit();
      if (!worth_another(ctx, checked.error(), attempt)) return checked.error();
    }
  }

  Result<std::vector<std::string>> left_behind(const Context&) override {
    return std::vector<std::string>{
        "users and permissions, webhooks, evaluation datasets, scorers and traces are not brought "
        "over"};
  }

 private:
  tracking::LoggedModel read_model(const Json& json, tracking::ExperimentId id) const {
    const Json& info = object_in(json, "info");
    const std::string status = text(info, "status");
    tracking::LoggedModel model{
        .id = text(info, "model_id"),
        .experiment = id,
        .name = text(info, "name"),
        .type = text(info, "model_type"),
        .run_id = text(info, "source_run_id"),
        .status = status == "LOGGED_MODEL_READY"           ? tracking::ModelStatus::ready
                  : status == "LOGGED_MODEL_UPLOAD_FAILED" ? tracking::ModelStatus::failed
                                                           : tracking::ModelStatus::pending,
        .artifact_uri = text(info, "artifact_uri"),
        .created_ms = integer(info, "creation_timestamp_ms"),
        .updated_ms = integer(info, "last_updated_timestamp_ms"),
        .params = params(object_in(json, "data")),
        .tags = tags(info)};
    for (const Json& point : list(object_in(json, "data"), "metrics")) {
      model.metrics.push_back({.model_id = model.id,
                               .run_id = text(point, "run_id"),
                               .metric = metric(point),
                               .dataset_name = text(point, "dataset_name"),
                               .dataset_digest = text(point, "dataset_digest")});
    }
    return model;
  }

  static std::string page_query(const std::string& page) {
    return page.empty() ? std::string() : "&page_token=" + percent_encoded(page, false);
  }

  // The path below mlflow-artifacts:/, when the files are behind the server's proxy.
  static std::optional<std::string> proxied(std::string_view uri) {
    constexpr std::string_view kScheme = "mlflow-artifacts:";
    if (!uri.starts_with(kScheme)) return std::nullopt;
    uri.remove_prefix(kScheme.size());
    if (uri.starts_with("//")) {
      const std::size_t slash = uri.find('/', 2);
      uri = slash == std::string_view::npos ? std::string_view() : uri.substr(slash);
    }
    while (uri.starts_with('/')) uri.remove_prefix(1);
    return std::string(uri);
  }

  Result<void> walk(const Context& ctx, const Owner& owner, const std::string& folder, int depth,
                    std::vector<SourceFile>& found) {
    if (depth > kDeepestFolder)
      return invalid_argument(fmt::format("artifact folder '{}' is too deep", folder));
    const auto root = proxied(owner.artifact_uri);
    std::vector<std::string> folders;
    auto walked = pages(
        ctx,
        [&](const std::string& page) -> Result<Json> {
          if (root) {
            return get_json(
                ctx, "/api/2.0/mlflow-artifacts/artifacts?path=" +
                         percent_encoded(folder.empty() ? *root : *root + "/" + folder, false));
          }
          if (owner.kind == Owner::Kind::run) {
            return get(ctx,
                       fmt::format("artifacts/list?run_id={}{}{}", owner.id,
                                   folder.empty() ? "" : "&path=", percent_encoded(folder, false)) +
                           page_query(page));
          }
          return get(ctx, fmt::format("logged-models/{}/artifacts/directories{}{}",
                                      percent_encoded(owner.id, false),
                                      folder.empty() ? "" : "?artifact_directory_path=",
                                      percent_encoded(folder, false)));
        },
        [&](const Json& answer) -> Result<void> {
          for (const Json& json : list(answer, "files")) {
            std::string path = text(json, "path");
            if (root && !folder.empty()) path = folder + "/" + path;  // it lists names only
            const auto at = json.find("is_dir");
            if (at != json.end() && at->is_boolean() && at->get<bool>()) {
              folders.push_back(std::move(path));
            } else {
              found.push_back({std::move(path), integer(json, "file_size", -1)});
            }
          }
          return {};
        });
    // No folder: nothing was ever logged.
    if (!walked && walked.error().code == Code::not_found && depth == 0) return {};
    if (!walked) return walked;
    for (const std::string& below : folders) {
      if (auto done = walk(ctx, owner, below, depth + 1, found); !done) return done;
    }
    return {};
  }

  template <class Ask, class Take>
  static Result<void> pages(const Context& ctx, Ask&& ask, Take&& take) {
    std::string page;
    do {
      if (auto wanted = ctx.check(); !wanted) return wanted;
      Result<Json> answer = ask(page);
      if (!answer) return answer.error();
      if (auto taken = take(*answer); !taken) return taken;
      std::string next = text(*answer, "next_page_token");
      if (next == page) break;
      page = std::move(next);
    } while (!page.empty());
    return {};
  }

  Result<Json> post(const Context& ctx, const std::string& path, Json body) {
    if (body.contains("page_token") && body["page_token"] == "") body.erase("page_token");
    return json_of(ctx, "POST", "/api/2.0/mlflow/" + path, body.dump());
  }
  Result<Json> get(const Context& ctx, const std::string& path) {
    return get_json(ctx, "/api/2.0/mlflow/" + path);
  }
  Result<Json> get_json(const Context& ctx, const std::string& target) {
    return json_of(ctx, "GET", target, "");
  }

  Result<Json> json_of(const Context& ctx, const std::string& method, const std::string& target,
                       const std::string& body) {
    for (int attempt = 1;; ++attempt) {
      net::HttpRequest request{.method = method,
                               .url = url_ + target,
                               .headers = headers_,
                               .body = body,
                               .timeout = std::chrono::minutes{10},
                               .max_response_bytes = kMostAnswer};
      if (!body.empty()) request.headers.emplace_back("Content-Type", "application/json");
      auto answer = http_.send(ctx, request);
      auto checked = check(target, answer);
      if (checked) return parse_json(answer->body, "the answer to " + target.substr(0, 100));
      if (!worth_another(ctx, checked.error(), attempt)) return checked.error();
    }
  }

  Result<void> check(const std::string& target, const Result<net::HttpResponse>& answer) const {
    if (!answer) return answer.error();
    if (answer->status / 100 == 2) return {};
    const Json json = Json::parse(answer->body, nullptr, false);
    const std::string said = json.is_object() && json.contains("message")
                                 ? text(json, "message")
                                 : answer->body.substr(0, 200);
    const std::string message =
        fmt::format("{}{} answered {}: {}", url_, target.substr(0, target.find('?')),
                    answer->status, said.substr(0, 500));
    switch (answer->status) {
      case 401:
        return unauthenticated(message +
                               " (set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                               "MLFLOW_TRACKING_TOKEN)");
      case 403:
        return permission_denied(message);
      case 404:
        return not_found(message);
      case 429:
      case 500:  // MLflow answers so while its database is locked
      case 502:
      case 503:
      case 504:
        return unavailable(message);
      default:
        return failed_precondition(message);
    }
  }

  // Waits a little before it says yes.
  static bool worth_another(const Context& ctx, const Error& error, int attempt) {
    if (attempt >= kTries ||
        (error.code != Code::unavailable && error.code != Code::deadline_exceeded))
      return false;
    std::mutex mutex;
    std::condition_variable_any wait;
    std::unique_lock lock(mutex);
    wait.wait_for(lock, ctx.stop, std::chrono::milliseconds{250} * (1 << attempt),
                  [] { return false; });
    return !ctx.cancelled();
  }

  std::string url_;  // without a slash at its end
  const Clock& clock_;
  net::HttpClient http_;
  net::Headers headers_;
};

}  // namespace

Result<net::EgressPolicy> policy_for(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos || !url.starts_with("http"))
    return invalid_argument("'" + url + "' is not the URL of a server: wanted http://HOST:PORT");
  const std::string_view rest = std::string_view(url).substr(scheme + 3);
  const std::string host(rest.substr(0, rest.find_first_of("/?")));
  if (host.find('@') != std::string::npos) {
    return invalid_argument(
        "the URL holds a user name or password: give them in MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD");
  }
  std::string name = host;
  if (!name.starts_with('[')) name = name.substr(0, name.find(':'));
  std::vector<std::string> entries = {host};
  if (!net::parse_address(name.starts_with('[') ? name.substr(1, name.find(']') - 1) : name) &&
      name != "localhost") {
    // A name may lead to a private address, as most MLflow servers' do.
    for (const char* network : {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8",
                                "[fc00::]/7", "[::1]/128", "100.64.0.0/10"})
      entries.emplace_back(network);
  }
  return net::EgressPolicy::parse(entries);
}

Result<std::unique_ptr<MlflowSource>> open_rest_source(const ImportOptions& options,
                                                       const Clock& clock) {
  std::string url = options.source;
  while (url.ends_with('/')) url.pop_back();
  auto policy = policy_for(url);
  if (!policy) return policy.error();
  return std::unique_ptr<MlflowSource>(
      std::make_unique<RestSource>(std::move(url), std::move(*policy), clock, options));
}

}  // namespace slipway::transfer
