// `slipway artifacts check`: are the bytes of all artifacts still what they were?
#include <unistd.h>

#include <iostream>
#include <map>

#include "blob/scrub.h"
#include "blob/sweep.h"
#include "cli/artifacts_internal.h"
#include "cli/collection_internal.h"
#include "cli/command_internal.h"
#include "cli/import_internal.h"

namespace slipway::cli {
namespace {

// On a terminal, a line that is written over. It changes with every hundredth, not every blob.
class CheckLine {
 public:
  void show(const blob::Scrubbed& done, const blob::Scrubbed& all) {
    if (isatty(STDERR_FILENO) == 0 || all.bytes == 0) return;
    const std::int64_t hundredth = done.bytes * 100 / all.bytes;
    if (hundredth == shown_) return;
    shown_ = hundredth;
    std::cerr << "\r\033[K"
              << fmt::format("{}%  {} of {} blobs, {} of {}", hundredth, done.blobs, all.blobs,
                             size_text(done.bytes), size_text(all.bytes))
              << std::flush;
  }
  void clear() const {
    if (shown_ >= 0) std::cerr << "\r\033[K" << std::flush;
  }

 private:
  std::int64_t shown_ = -1;
};

struct DamagedBlob {
  std::string sha256;
  std::string needed_by;  // what kind of thing names it, or empty
};

Result<std::vector<DamagedBlob>> find_needs(const Context& ctx, Home& home,
                                            const std::vector<std::string>& damaged) {
  std::vector<DamagedBlob> blobs;
  if (damaged.empty()) return blobs;
  const auto live = blob::mark(ctx, home.db(), home.blobs(), blob_roots(), {});
  if (!live) return live.error();
  std::map<std::string, std::string> kinds;
  for (const auto& entry : live->entries()) {
    kinds.emplace(to_hex(entry.digest), live->kinds()[entry.kind]);
  }
  for (const std::string& sha256 : damaged) {
    const auto found = kinds.find(sha256);
    blobs.push_back({sha256, found == kinds.end() ? std::string() : found->second});
  }
  return blobs;
}

int check_artifacts(const Globals& globals) {
  const Context ctx = interruptible_context();
  return with_home(globals, {.create = false}, [&](Home& home) {
    CheckLine line;
    const auto scrubbed = blob::scrub(
        ctx, home.blobs(),
        [&](const blob::Scrubbed& done, const blob::Scrubbed& all) { line.show(done, all); });
    line.clear();
    if (!scrubbed) return fail(scrubbed.error());
    const auto damaged = find_needs(ctx, home, scrubbed->damaged);
    if (!damaged) return fail(damaged.error());
    if (globals.json) {
      Json json = {{"sound", damaged->empty()},
                   {"blobs", scrubbed->blobs},
                   {"bytes", scrubbed->bytes},
                   {"damaged", Json::array()}};
      for (const DamagedBlob& blob : *damaged)
        json["damaged"].push_back({{"sha256", blob.sha256}, {"needed_by", blob.needed_by}});
      std::cout << json.dump(2) << "\n";
      return damaged->empty() ? 0 : kExitNo;
    }
    std::cout << fmt::format("{} blobs, {} read: ", scrubbed->blobs, size_text(scrubbed->bytes));
    if (damaged->empty()) {
      std::cout << green("all are what they were") << "\n";
      return 0;
    }
    std::cout << red(fmt::format("{} damaged", damaged->size())) << "\n";
    for (const DamagedBlob& blob : *damaged) {
      std::cout << "  " << blob.sha256 << "  "
                << (blob.needed_by.empty() ? "nothing names it" : "named by " + blob.needed_by)
                << "\n";
    }
    std::cout << "Restore these files from a backup, or store the original bytes again: that "
                 "replaces a damaged copy.\n";
    return kExitNo;
  });
}

}  // namespace

void add_artifacts(CLI::App& app, Globals& globals) {
  CLI::App* artifacts = noun(app, "artifacts", "The bytes of artifacts, models and datasets");
  CLI::App* check =
      artifacts->add_subcommand("check", "Read every stored blob and compare it with its SHA-256");
  check->add_flag("--json", globals.json, "Print JSON");
  check->footer(
      "Safe beside a running server; what it finds is left as it is. Exit code 7 when a blob is "
      "damaged. `slipway db check` looks for those that are missing.\nExample: slipway artifacts "
      "check");
  check->callback([&globals] { globals.exit_code = check_artifacts(globals); });
}

}  // namespace slipway::cli
