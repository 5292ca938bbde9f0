// `slipway import mlflow --server`: the server imports, this program tells how it goes.
#include "cli/import_internal.h"
#include "cli/remote_internal.h"

namespace slipway::cli {
namespace {

constexpr std::chrono::milliseconds kAskEvery{300};

class RemoteImport {
 public:
  explicit RemoteImport(RemoteServer& server) : server_(server) {}

  Result<transfer::ImportReport> run(const Context& ctx, const transfer::ImportOptions& options) {
    Json body = {{"source", options.source},
                 {"experiments", options.experiments},
                 {"with_artifacts", options.with_artifacts},
                 {"again", options.again},
                 {"threads", options.threads}};
    if (!options.artifacts.empty()) body["artifact_root"] = options.artifacts.string();
    auto begun = server_.ask("POST", "/api/v1/imports", body.dump());
    if (!begun) return begun.error();
    const std::string job = begun->value("job", "");
    bool cancelled = false;
    ImportLine line;
    while (true) {
      auto now = server_.ask("GET", "/api/v1/imports/" + job);
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
        if (auto told = server_.cancel(job); !told) return told.error();
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

  RemoteServer& server_;
};

}  // namespace

int import_on_server(const Globals& globals, const Context& ctx, const std::string& server,
                     const transfer::ImportOptions& options) {
  auto remote = RemoteServer::at(server, "import");
  if (!remote) return fail(remote.error());
  auto report = RemoteImport(**remote).run(ctx, options);
  if (!report) return fail(report.error());
  return show_import(globals, *report);
}

}  // namespace slipway::cli
