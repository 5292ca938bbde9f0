// `gc`: what was deleted long ago, and what nothing names any more, goes for good.
#include <iostream>

#include "cli/collection_internal.h"
#include "cli/command_internal.h"

namespace slipway::cli {
namespace {

struct GcFlags {
  governance::CollectOptions options;
  std::string keep_deleted = "30d";
  std::string grace = "24h";
};

std::string amount(const blob::Amount& amount) {
  return fmt::format("{} blobs, {:.1f} MB", amount.count, static_cast<double>(amount.bytes) / 1e6);
}

int show(const Globals& globals, const governance::CollectReport& report) {
  if (globals.json) {
    std::cout << report.to_json().dump(2) << "\n";
    return report.blobs.failed.count == 0 ? 0 : kExitNo;
  }
  if (!report.purged.empty()) {
    TextTable purged({report.dry_run ? "WOULD GO FROM" : "GONE FROM", "RUNS", "LOGGED MODELS", ""});
    for (const governance::CollectedExperiment& row : report.purged) {
      purged.add({fmt::format("{} ({})", row.name, row.id), std::to_string(row.runs),
                  std::to_string(row.logged_models), row.gone ? "and the experiment itself" : ""});
    }
    purged.print();
  }
  TextTable kept({"KEPT BY", "BLOBS", "MB"});
  for (std::size_t i = 0; i < report.kinds.size(); ++i) {
    const blob::Amount& sum = report.blobs.kept[i];
    kept.add({report.kinds[i], std::to_string(sum.count),
              fmt::format("{:.1f}", static_cast<double>(sum.bytes) / 1e6)});
  }
  kept.print();
  if (report.held > 0) {
    std::cout << report.held << " deleted runs or logged models stay, since model versions come "
              << "from them: " << report.held_examples.front() << (report.held > 1 ? ", …" : "")
              << "\n";
  }
  if (report.blobs.young.count > 0)
    std::cout << "young, so not touched: " << amount(report.blobs.young) << "\n";
  if (report.blobs.missing > 0) {
    std::cout << red(fmt::format("missing: {} blobs are named but not in the store",
                                 report.blobs.missing))
              << ", such as " << report.blobs.missing_digests.front() << "\n";
  }
  for (const std::string& note : report.notes) std::cout << "note: " << note << "\n";
  for (const std::string& problem : report.blobs.problems)
    std::cout << red("problem: ") << problem << "\n";
  std::cout << (report.dry_run ? "would be removed: " : "removed: ") << amount(report.blobs.garbage)
            << "\n";
  return report.blobs.failed.count == 0 ? 0 : kExitNo;
}

int collect(const Globals& globals, GcFlags flags) {
  for (const auto& [text, place] : {std::pair{&flags.keep_deleted, &flags.options.keep_deleted},
                                    {&flags.grace, &flags.options.grace}}) {
    auto duration = parse_duration(*text);
    if (!duration) return fail(duration.error());
    *place = *duration;
  }
  const Context ctx = interruptible_context();
  return with_home(globals, {.create = false}, [&](Home& home) {
    auto report = collector_of(home).collect(ctx, flags.options);
    auto head = home.audit().checkpoint();
    if (!report) return fail(report.error());
    if (!head) return fail(head.error());
    return show(globals, *report);
  });
}

}  // namespace

void add_gc(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<GcFlags>();
  CLI::App* gc = app.add_subcommand(
      "gc", "Remove for good what was deleted long ago, and bytes that nothing names any more");
  gc->add_flag("--dry-run", flags->options.dry_run, "Only say what would go, and how many bytes");
  gc->add_option("--older-than", flags->keep_deleted,
                 "How long deleted runs, logged models and experiments can still be restored; an "
                 "experiment's tag slipway.retention ('90d', 'forever') comes first")
      ->capture_default_str();
  gc->add_option("--experiment", flags->options.experiments,
                 "Only what was deleted in this experiment; may be given several times");
  gc->add_option("--grace", flags->grace,
                 "How long bytes stay that nothing names yet. Less than an hour only while no "
                 "server, run or upload is going on")
      ->capture_default_str();
  gc->add_flag("--json", globals.json, "Print JSON");
  gc->footer(
      "Safe beside a running server. Exit code 7 when something could not be removed.\nExample: "
      "slipway gc --dry-run --older-than 30d");
  gc->callback([flags, &globals] { globals.exit_code = collect(globals, *flags); });
}

}  // namespace slipway::cli
