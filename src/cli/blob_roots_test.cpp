// Every table of the schema either is read by a blob root or is known to hold no blobs: who adds a
// table has to say which, or garbage collection could remove what it names.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "cli/collection_internal.h"

namespace slipway::cli {
namespace {

// Beside each, why the digests in it, if any, keep nothing.
const std::set<std::string> kHoldNoBlobs = {
    // Who may do what: no files.
    "access_state", "access_users", "access_roles", "access_members", "access_grants",
    "access_tokens",
    // Proves what was, and keeps none of it.
    "audit_entries", "audit_nodes",
    // What came from what, by name and digest.
    "lineage_nodes", "lineage_edges",
    // Labels, decisions and settings as text.
    "labels", "feedback_loops", "feedback_triggers", "feedback_schedules", "feedback_trials",
    // Work to do, with its settings.
    "jobs",
    // References come out of the bundles of registered versions.
    "monitors", "monitor_windows", "alerts", "alert_states", "alert_outbox",
    // Deployments and rollouts name models of the registry; keys are kept in their rows.
    "serving_deployments", "serving_rollouts", "serving_subject_keys",
    // The step's record is in step_runs; what it last used is a key of step_cache.
    "pipeline_runs", "step_last",
    // Digests of files outside the store.
    "file_digests",
    // Values only: files are in `artifacts`.
    "experiments", "experiment_tags", "runs", "run_params", "run_tags", "run_metrics",
    "run_latest_metrics", "run_metric_log", "run_metric_chunks", "run_inputs", "run_models",
    "logged_models", "logged_model_tags", "logged_model_params", "logged_model_metrics",
    // Names, labels and pointers: bundles are in `model_versions`.
    "registered_models", "registered_model_tags", "model_version_tags", "model_aliases",
    "model_alias_moves",
    // Addresses and messages.
    "webhooks", "webhook_subscriptions", "webhook_events", "webhook_deliveries",
    // Spans and what is said about them, as text.
    "traces", "trace_tags", "trace_metadata", "trace_spans", "trace_assessments", "trace_runs",
    "trace_prompts",
    // What imports have brought over.
    "transfer_items"};

std::set<std::string> tables_of_the_schema() {
  std::set<std::string> tables;
  const std::regex create(R"(CREATE TABLE (?:IF NOT EXISTS )?(\w+))");
  for (const auto& entry : std::filesystem::recursive_directory_iterator("src")) {
    if (entry.path().extension() != ".sql") continue;
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const std::string sql = text.str();
    for (std::sregex_iterator at(sql.begin(), sql.end(), create), end; at != end; ++at)
      tables.insert((*at)[1]);
  }
  return tables;
}

TEST(BlobRoots, EveryTableIsReadOrKnownToHoldNoBlobs) {
  const std::set<std::string> tables = tables_of_the_schema();
  ASSERT_GT(tables.size(), 30U) << "run it from the checkout";
  std::set<std::string> read;
  for (const blob::RootSource& root : blob_roots()) {
    read.insert(std::string(root.table));
    EXPECT_TRUE(tables.contains(std::string(root.table))) << root.table << " is no table";
    EXPECT_NE(root.sql.find(root.table), std::string_view::npos) << root.sql;
  }
  for (const std::string& table : tables) {
    EXPECT_TRUE(read.contains(table) != kHoldNoBlobs.contains(table))
        << "table '" << table
        << "': list it in its module's roots.h when it names blobs, else in kHoldNoBlobs here";
  }
}

}  // namespace
}  // namespace slipway::cli
