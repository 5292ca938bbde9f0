#include <algorithm>

#include "access/migrations.h"
#include "audit/migrations.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/schema_internal.h"
#include "data/migrations.h"
#include "features/migrations.h"
#include "feedback/migrations.h"
#include "governance/migrations.h"
#include "jobs/migrations.h"
#include "monitoring/migrations.h"
#include "pipeline/migrations.h"
#include "registry/migrations.h"
#include "serving/migrations.h"
#include "tracing/migrations.h"
#include "tracking/migrations.h"
#include "transfer/migrations.h"
#include "webhooks/migrations.h"

namespace slipway::cli {
namespace {

namespace fs = std::filesystem;

constexpr db::ModuleSchema kSchemas[] = {
    {"jobs", jobs::kMigrations},
    {"audit", audit::kMigrations},
    {"access", access::kMigrations},
    {"webhooks", webhooks::kMigrations},
    {"data", data::kMigrations},
    {"features", features::kMigrations},
    {"tracking", tracking::kMigrations},
    {"tracing", tracing::kMigrations},
    {"registry", registry::kMigrations},
    {"serving", serving::kMigrations},
    {"feedback", feedback::kMigrations},
    {"monitoring", monitoring::kMigrations},
    {"governance", governance::kMigrations},
    {"pipeline", pipeline::kMigrations},
    {"transfer", transfer::kMigrations},
};

std::string list(const std::vector<db::PendingMigration>& pending) {
  std::string text;
  for (const auto& migration : pending) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} {} ({})", migration.module, migration.version, migration.name);
  }
  return text;
}

void drop_old(const fs::path& folder, std::string_view ending) {
  std::error_code problem;
  std::vector<fs::path> copies;
  for (const auto& entry : fs::directory_iterator(folder, problem)) {
    if (entry.path().filename().string().ends_with(ending)) copies.push_back(entry.path());
  }
  std::ranges::sort(copies, std::greater<>());  // their names begin with the time
  for (std::size_t i = kKeptBackups; i < copies.size(); ++i) fs::remove(copies[i], problem);
}

}  // namespace

std::span<const db::ModuleSchema> all_schemas() { return kSchemas; }

std::string name_of_time(Time time) {
  std::string text = format_time(std::chrono::floor<std::chrono::seconds>(time));
  std::erase_if(text, [](char c) { return c == '-' || c == ':' || c == 'Z'; });
  std::ranges::replace(text, 'T', '-');
  return text;
}

Result<fs::path> keep_backup(const db::Database& db, const fs::path& home, std::string_view why,
                             const Clock& clock) {
  const fs::path folder = home / "backups";
  if (auto made = make_dirs(folder); !made) return made.error();
  const std::string ending =
      fmt::format("-{}.{}", why, db.backend() == db::Backend::sqlite ? "db" : "dump");
  const fs::path copy = folder / (name_of_time(clock.now()) + ending);
  if (auto copied = db.backup_to(copy); !copied) return copied.error();
  drop_old(folder, ending);
  return copy;
}

Result<void> bring_up_to_date(db::Database& db, const fs::path& home, MayMigrate may,
                              const Clock& clock) {
  const auto plan = plan_migrations(db, all_schemas());
  if (!plan) return plan.error();
  if (plan->pending.empty()) return {};
  if (plan->fresh) return migrate_all(db, all_schemas());
  const std::string pending = list(plan->pending);
  if (may == MayMigrate::no) {
    return failed_precondition(fmt::format(
        "the home '{}' was made by an older slipway, and its database has to be brought up to date "
        "first: start `slipway up`, or run `slipway db migrate` (pending: {})",
        home.string(), pending));
  }
  std::optional<FileLock> alone;
  if (may == MayMigrate::if_alone) {
    auto lock = FileLock::acquire(home / "server.lock", "the home '" + home.string() + "'");
    if (!lock) {
      return failed_precondition(fmt::format(
          "a server of an older slipway runs on the home '{}', whose database has to be brought up "
          "to date first: start that server anew with this version (pending: {})",
          home.string(), pending));
    }
    alone.emplace(*std::move(lock));
  }
  log::info("the database is copied before it is brought up to date", {{"database", db.name()}});
  const auto copy = keep_backup(db, home, "before-migration", clock);
  if (!copy) {
    return copy.error().at(
        "the database has to be brought up to date, and the copy that is kept beforehand failed "
        "(`slipway db migrate --no-backup` goes on without one)");
  }
  log::info("the database is brought up to date",
            {{"pending", pending}, {"backup", copy->string()}});
  return migrate_all(db, all_schemas());
}

}  // namespace slipway::cli
