// `slipway import mlflow --server`: the server imports, this program tells how it goes.
#include <condition_variable>

#include "cli/import_internal.h"
#include "net/http_client.h"

namespace slipway::cli {
namespace {

constexpr std::chrono::milliseconds kAskEvery{300};

Code code_of(int status) {
  switch (status) {
    case 400:
      return Code::invalid_argument;
    case 401:
      return Code::unauthenticated;
    case 403:
      return Code::permission_denied;
    case 404:
      return Code::not_found;
    case 503:
      return Code::unavailable;
    default:
      return Code::failed_precondition;
  }
}

class RemoteImport {
 public:
  RemoteImport(std::string server, net::EgressPolicy policy)
      : server_(std::move(server)), http_(std::move(policy), clock_) {
    while (server_.ends_with('/')) server_.pop_back();
    if (const std::string token = environment_value("SLIPWAY_TOKEN"); !token.empty())
      headers_.emplace_back("Authorization", "Bearer " + token);
  }

  Result<transfer::ImportReport> run(const Context& ctx, const transfer::ImportOptions& options) {
    Json body = {{"source", options.source},
                 {"experiments", options.experiments},
                 {"with_artifacts", options.with_artifacts},
                 {"again", options.again},
                 {"threads", options.threads}};
    if (!options.artifacts.empty()) body["artifact_root"] = options.artifacts.string();
    auto begun = ask("POST", "/api/v1/imports", body.dump());
    if (!begun) return begun.error();
    const std::string job = begun->value("job", "");
    bool cancelled = false;
    ImportLine line;
    while (true) {
      auto now = ask("GET", "/api/v1/imports/" + job, "");
      if (!now) return now.error();
      const std::string state = now->value("state", "");
      if (state == "succeeded") {
        line.clear();
        return transfer::ImportReport::from_json(now->value("report", Json::object()));
      }
      if (state == "cancelled") return Error{Code::cancelled, "the import was cancelled"};
      if (state == "failed") return failed_precondition(now->value("error", "the import failed"));
      if (const auto at = now->find("progress"); at != now->end()) show(line, *at);
      if (ctx.cancelled() && !cancelled) {
        cancelled = true;
        auto told = ask("POST", "/api/v1/jobs/" + job + "/cancel", "{}");
        if (!told) return told.error();
      }
      std::this_thread::sleep_for(kAskEvery);
    }
  }

 private:
  static void show(ImportLine& line, const Json& at) {
    line.show({.what = at.value("what", ""),
               .runs = at.value("runs", std::int64_t{0}),
               .total_runs = at.value("total_runs", std::int64_t{-1}),
               .points = at.value("points", std::int64_t{0}),
               .files = at.value("files", std::int64_t{0}),
               .bytes = at.value("bytes", std::int64_t{0})});
  }

  // Not stopped by the context: cancelling has to be told to the server.
  Result<Json> ask(const std::string& method, const std::string& path, const std::string& body) {
    net::HttpRequest request{
        .method = method, .url = server_ + path, .headers = headers_, .body = body};
    if (!body.empty()) request.headers.emplace_back("Content-Type", "application/json");
    auto answer = http_.send({}, request);
    if (!answer) return answer.error();
    auto json = parse_json(answer->body, "the server's answer");
    if (answer->status / 100 == 2) return json;
    std::string said = answer->body.substr(0, 300);
    if (json && json->is_object() && json->contains("error") && (*json)["error"].is_object())
      said = (*json)["error"].value("message", said);
    return Error{code_of(answer->status), "the server does not import: " + said};
  }

  std::string server_;
  SystemClock clock_;
  net::HttpClient http_;
  net::Headers headers_;
};

}  // namespace

int import_on_server(const Globals& globals, const Context& ctx, const std::string& server,
                     const transfer::ImportOptions& options) {
  auto policy = transfer::policy_for(server);
  if (!policy) return fail(policy.error());
  auto report = RemoteImport(server, *policy).run(ctx, options);
  if (!report) return fail(report.error());
  return show_import(globals, *report);
}

}  // namespace slipway::cli
