// Lineage: what came from what, from raw files to a deployment.
//   lineage.record(ctx, {{NodeType::dataset, "flights@3fa9…"}, {NodeType::run, run_id}, "train"});
//   auto tree = lineage.trace({NodeType::model_version, "late/3"}, Direction::upstream);
//   if (tree) std::cout << render_text(*tree);
// Recording the same edge again changes nothing. Thread-safe; calls block on the database.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "db/database.h"

namespace slipway::governance {

enum class NodeType { file, dataset, run, model_version, deployment, pipeline_run, commit };
std::string_view to_string(NodeType type);
Result<NodeType> parse_node_type(std::string_view text);

struct Node {
  NodeType type = NodeType::file;
  // A file's SHA-256, name@version of a dataset, a run's or pipeline run's id, model/number, a
  // deployment's name, a commit of the code.
  std::string id;
  Json facts = Json::object();  // small; the latest that is not empty is kept
};

struct Edge {
  Node from;
  Node to;
  std::string activity;  // the step kind: "ingest", "train", "register", "deploy", "collect"
};

enum class Direction { upstream, downstream };

// A node and what it came from (or what came from it). A node already shown elsewhere has
// `repeated` and no branches.
struct Tree {
  Node node;
  std::string activity;  // of the edge that leads here; empty at the root
  Time at;               // of that edge
  std::string actor;
  bool repeated = false;
  std::vector<Tree> branches;
  Json to_json() const;
};

class Lineage {
 public:
  static Result<std::unique_ptr<Lineage>> open(db::Database& db, const Clock& clock);
  Result<void> record(const Context& ctx, const Edge& edge);
  Result<void> record(db::Transaction& tx, const Context& ctx, const Edge& edge);
  // not_found when nothing was recorded about it.
  Result<Tree> trace(const Node& root, Direction direction) const;

 private:
  Lineage(db::Database& db, const Clock& clock) : db_(db), clock_(clock) {}
  db::Database& db_;
  const Clock& clock_;
};

// One line a node, deeper ones indented; control characters in names are replaced.
std::string render_text(const Tree& tree);

}  // namespace slipway::governance
