// `import` and `export`: moving in from MLflow, and out to Parquet.
#include <unistd.h>

#include <iostream>

#include "cli/import_internal.h"
#include "transfer/export.h"
#include "transfer/mlflow_import.h"

namespace slipway::cli {
namespace {

int import_mlflow(const Globals& globals, transfer::ImportOptions options,
                  const std::string& server) {
  if (auto valid = options.validate(); !valid) return fail(valid.error());
  const Context ctx = interruptible_context();
  if (!server.empty()) return import_on_server(globals, ctx, server, options);
  options.user = environment_value("MLFLOW_TRACKING_USERNAME");
  options.password = environment_value("MLFLOW_TRACKING_PASSWORD");
  options.token = environment_value("MLFLOW_TRACKING_TOKEN");
  return with_home(globals, {}, [&](Home& home) {
    transfer::MlflowImport import(
        {home.db(), home.blobs(), home.audit(), home.tracking(), home.registry(), home.clock()},
        options);
    ImportLine line;
    auto report = import.run(ctx, [&](const transfer::ImportProgress& at) { line.show(at); });
    line.clear();
    auto head = home.audit().checkpoint();
    if (!report) return fail(report.error());
    if (!head) return fail(head.error());
    return show_import(globals, *report);
  });
}

int export_all(const Globals& globals, const transfer::ExportOptions& options) {
  const Context ctx = interruptible_context();
  return with_home(globals, {.create = false}, [&](Home& home) {
    const bool lively = isatty(STDERR_FILENO) == 1;
    auto report = transfer::export_parquet(
        ctx, home.db(), home.clock(), options, [&](const std::string& table, std::int64_t rows) {
          if (lively) std::cerr << "\r\033[K" << table << ": " << rows << " rows" << std::flush;
        });
    if (lively) std::cerr << "\r\033[K" << std::flush;
    if (!report) return fail(report.error());
    TextTable table({"TABLE", "ROWS", "SIZE", "SHA-256"});
    for (const transfer::ExportedTable& one : report->tables)
      table.add(
          {one.name, std::to_string(one.rows), size_text(one.bytes), one.sha256.substr(0, 16)});
    return print(globals, table, report->to_json());
  });
}

}  // namespace

void add_moving(CLI::App& app, Globals& globals) {
  CLI::App* import = noun(app, "import", "Move in from another store");
  auto options = std::make_shared<transfer::ImportOptions>();
  CLI::App* mlflow = import->add_subcommand(
      "mlflow", "Experiments, runs, models and artifacts of an MLflow server, or of its database");
  mlflow
      ->add_option("URI", options->source,
                   "http://HOST:PORT of the server, or its database: sqlite:///FILE, "
                   "postgresql://USER@HOST/NAME")
      ->required();
  mlflow->add_option("--experiment", options->experiments,
                     "Only this experiment, and the model versions that come from its runs; may be "
                     "given several times");
  mlflow->add_option("--artifact-root", options->artifacts,
                     "For a database: the folder that mlflow-artifacts:/ stands for (what the "
                     "server was given as --artifacts-destination)");
  mlflow->add_flag("!--no-artifacts", options->with_artifacts, "Leave artifacts where they are");
  mlflow->add_flag("--again", options->again, "Look at runs that were brought over before, too");
  mlflow->add_option("--threads", options->threads, "Runs read at the same time")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  mlflow->add_flag("--json", globals.json, "Print JSON");
  mlflow->footer(
      "May be stopped and started again: it goes on where it was, and doubles nothing. Ends with a "
      "table of\ncounts on both sides; exit code 7 when they differ. MLFLOW_TRACKING_USERNAME, "
      "_PASSWORD and _TOKEN are used.\nExample: slipway import mlflow http://localhost:5000 "
      "--home .slipway");
  auto server = std::make_shared<std::string>();
  mlflow->add_option(
      "--server", *server,
      "A slipway server that does it, http://HOST:PORT; URI and folders are then its "
      "machine's. SLIPWAY_TOKEN is used");
  mlflow->callback([options, server, &globals] {
    globals.exit_code = import_mlflow(globals, *options, *server);
  });

  auto out = std::make_shared<transfer::ExportOptions>();
  CLI::App* to_parquet = app.add_subcommand(
      "export", "Write runs, metrics, models and the audit log as Parquet files, with a manifest");
  to_parquet->add_option("FOLDER", out->folder, "Made by the export; appears when it is complete")
      ->required();
  to_parquet->add_option("--experiment", out->experiments,
                         "Only this experiment, without models and audit log; may be given several "
                         "times");
  to_parquet->add_flag("--json", globals.json, "Print the manifest");
  to_parquet->footer(
      "A snapshot, taken while everything goes on.\nExample: slipway export /backup/2026-11-24");
  to_parquet->callback([out, &globals] { globals.exit_code = export_all(globals, *out); });
}

}  // namespace slipway::cli
