#include "db/schema.h"

#include <map>

#include "base/fault.h"
#include "base/hash.h"

namespace slipway::db {
namespace {

using Done = std::map<std::string, std::map<std::int64_t, std::string>>;  // module, version, digest

Result<Done> read_done(Connection& connection) {
  Done done;
  auto rows = connection.query("SELECT module, version, sha256 FROM schema_migrations");
  if (!rows) return rows.error();
  while (rows->next()) done[rows->text(0)][rows->integer(1)] = rows->text(2);
  if (auto status = rows->status(); !status) return status.error();
  return done;
}

// The migrations of one module that are still to be run.
Result<std::vector<const Migration*>> pending_of(const Done& done, const ModuleSchema& schema,
                                                 const std::string& database) {
  std::vector<const Migration*> pending;
  const auto found = done.find(std::string(schema.module));
  static const std::map<std::int64_t, std::string> kNone;
  const auto& versions = found == done.end() ? kNone : found->second;
  const std::int64_t known = schema.migrations.empty() ? 0 : schema.migrations.back().version;
  if (!versions.empty() && versions.rbegin()->first > known) {
    return failed_precondition("the database '" + database + "' holds version " +
                               std::to_string(versions.rbegin()->first) + " of the schema of '" +
                               std::string(schema.module) + "', and this program knows up to " +
                               std::to_string(known) +
                               ": use a newer slipway; nothing was changed");
  }
  for (const Migration& migration : schema.migrations) {
    const auto ran = versions.find(migration.version);
    if (ran == versions.end()) {
      pending.push_back(&migration);
    } else if (ran->second != sha256_hex(migration.sql)) {
      return data_loss("migration " + std::to_string(migration.version) + " of '" +
                       std::string(schema.module) +
                       "' differs from the one this database was made with");
    }
  }
  return pending;
}

Result<void> apply(Transaction& tx, std::string_view module, const Migration& migration) {
  if (auto go_on = fault::point("db.mid_migration"); !go_on) return go_on;
  if (auto ran = tx.run_script(migration.sql); !ran) {
    return ran.error().at("migration " + std::to_string(migration.version) + " of '" +
                          std::string(module) + "'");
  }
  return tx.run("INSERT INTO schema_migrations(module, version, name, sha256) VALUES(?, ?, ?, ?)",
                module, migration.version, migration.name, sha256_hex(migration.sql));
}

}  // namespace

Result<MigrationPlan> plan_migrations(const Database& db, std::span<const ModuleSchema> modules) {
  return db.read([&](Connection& connection) -> Result<MigrationPlan> {
    const auto done = read_done(connection);
    if (!done) return done.error();
    MigrationPlan plan{.fresh = done->empty(), .pending = {}};
    for (const ModuleSchema& schema : modules) {
      const auto pending = pending_of(*done, schema, db.name());
      if (!pending) return pending.error();
      for (const Migration* migration : *pending) {
        plan.pending.push_back(
            {std::string(schema.module), migration->version, std::string(migration->name)});
      }
    }
    return plan;
  });
}

Result<void> migrate_all(Database& db, std::span<const ModuleSchema> modules) {
  return db.write([&](Transaction& tx) -> Result<void> {
    const auto done = read_done(tx);
    if (!done) return done.error();
    for (const ModuleSchema& schema : modules) {
      const auto pending = pending_of(*done, schema, db.name());
      if (!pending) return pending.error();
      for (const Migration* migration : *pending) {
        if (auto applied = apply(tx, schema.module, *migration); !applied) return applied;
      }
    }
    return {};
  });
}

Result<std::vector<ModuleVersion>> schema_versions(const Database& db) {
  return db.read([](Connection& connection) -> Result<std::vector<ModuleVersion>> {
    std::vector<ModuleVersion> versions;
    auto rows = connection.query(
        "SELECT module, max(version) FROM schema_migrations GROUP BY module ORDER BY module");
    if (!rows) return rows.error();
    while (rows->next()) versions.push_back({rows->text(0), rows->integer(1)});
    if (auto status = rows->status(); !status) return status.error();
    return versions;
  });
}

// Most opens of a module find its schema up to date: a read says so without the database's lock.
Result<void> Database::migrate(std::string_view module, std::span<const Migration> migrations) {
  const ModuleSchema schema{module, migrations};
  const auto plan = plan_migrations(*this, {&schema, 1});
  if (!plan) return plan.error();
  if (plan->pending.empty()) return {};
  return migrate_all(*this, {&schema, 1});
}

}  // namespace slipway::db
