#include "governance/lineage.h"

#include <set>

#include "base/spec.h"
#include "governance/migrations.h"
#include "governance/queries.h"

namespace slipway::governance {
namespace {

constexpr NodeType kNodeTypes[] = {
    NodeType::file,       NodeType::dataset,      NodeType::run,   NodeType::model_version,
    NodeType::deployment, NodeType::pipeline_run, NodeType::commit};
constexpr int kMaxDepth = 100;  // a loop of feedback comes back to nodes already shown well before

struct Walk {
  db::Connection& connection;
  Direction direction;
  std::set<std::pair<NodeType, std::string>> shown;

  Result<void> fill(Tree& tree, int depth) {
    if (!shown.emplace(tree.node.type, tree.node.id).second || depth > kMaxDepth) {
      tree.repeated = true;
      return {};
    }
    const auto query = direction == Direction::upstream ? sql::find_sources : sql::find_products;
    auto rows = connection.query(query, to_string(tree.node.type), tree.node.id);
    if (!rows) return rows.error();
    while (rows->next()) {
      auto type = parse_node_type(rows->view(0));
      if (!type) return type.error();
      Tree branch{.node = {*type, rows->text(1)},
                  .activity = rows->text(2),
                  .at = from_micros(rows->integer(3)),
                  .actor = rows->text(4)};
      if (auto known = facts(branch.node); !known) return known;
      tree.branches.push_back(std::move(branch));
    }
    if (auto status = rows->status(); !status) return status;
    for (Tree& branch : tree.branches) {
      if (auto filled = fill(branch, depth + 1); !filled) return filled;
    }
    return {};
  }

  Result<void> facts(Node& node) {
    auto rows = connection.query(sql::find_node, to_string(node.type), node.id);
    if (!rows) return rows.error();
    if (!rows->next())
      return rows->status() ? not_found("nothing is known of the " +
                                        std::string(to_string(node.type)) + " '" + node.id + "'")
                            : rows->status();
    auto parsed = parse_json(rows->view(0), "the facts of a node");
    if (!parsed) return parsed.error();
    node.facts = std::move(*parsed);
    return {};
  }
};

// Names come from files and callers: none may steer the terminal or begin a line.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return text;
}

std::string described(const Node& node) {
  const auto at = node.id.find('@');
  std::string text = std::string(to_string(node.type)) + " ";
  if (node.type == NodeType::dataset && at != std::string::npos)
    return text + node.id.substr(0, at + 13);
  if (node.type == NodeType::file) {
    return text + node.facts.value("path", "?") + "  " +
           std::to_string(node.facts.value("size", std::int64_t{0})) + " bytes  sha256 " +
           node.id.substr(0, 12);
  }
  if (node.type == NodeType::run)
    return text + node.id.substr(0, 12) + " " + node.facts.value("name", "");
  if (node.type == NodeType::model_version && node.facts.contains("bundle"))
    return text + node.id + "  bundle " + node.facts.value("bundle", "").substr(0, 12);
  return text + node.id;
}

void render(const Tree& tree, const std::string& indent, bool last, bool root, std::string& into) {
  into += indent + (root ? "" : last ? "└─ " : "├─ ") + printable(described(tree.node));
  if (!tree.activity.empty())
    into += "  (" + printable(tree.activity) + ", " + format_time(tree.at).substr(0, 19) + "Z)";
  if (tree.repeated) into += "  — shown above";
  into += "\n";
  const std::string deeper = root ? "" : indent + (last ? "   " : "│  ");
  for (std::size_t i = 0; i < tree.branches.size(); ++i)
    render(tree.branches[i], deeper, i + 1 == tree.branches.size(), false, into);
}

}  // namespace

std::string_view to_string(NodeType type) {
  switch (type) {
    case NodeType::file:
      return "file";
    case NodeType::dataset:
      return "dataset";
    case NodeType::run:
      return "run";
    case NodeType::model_version:
      return "model_version";
    case NodeType::deployment:
      return "deployment";
    case NodeType::pipeline_run:
      return "pipeline_run";
    case NodeType::commit:
      return "commit";
  }
  return "file";
}

Result<NodeType> parse_node_type(std::string_view text) {
  std::vector<std::string> names;
  for (const NodeType type : kNodeTypes) {
    if (to_string(type) == text) return type;
    names.emplace_back(to_string(type));
  }
  const auto near = nearest(text, names);
  return invalid_argument("'" + std::string(text) + "' is not a kind of node" +
                          (near ? "; did you mean '" + *near + "'?" : ""));
}

Json Tree::to_json() const {
  Json json = {{"type", to_string(node.type)}, {"id", node.id}, {"facts", node.facts}};
  if (!activity.empty())
    json.update({{"activity", activity}, {"at", format_time(at)}, {"actor", actor}});
  if (repeated) json["repeated"] = true;
  for (const Tree& branch : branches) json["branches"].push_back(branch.to_json());
  return json;
}

Result<std::unique_ptr<Lineage>> Lineage::open(db::Database& db, const Clock& clock) {
  if (auto ready = db.migrate("governance", kMigrations); !ready) return ready.error();
  return std::unique_ptr<Lineage>(new Lineage(db, clock));
}

Result<void> Lineage::record(const Context& ctx, const Edge& edge) {
  return db_.write([&](db::Transaction& tx) { return record(tx, ctx, edge); });
}

Result<void> Lineage::record(db::Transaction& tx, const Context& ctx, const Edge& edge) {
  for (const Node* node : {&edge.from, &edge.to}) {
    if (auto put = tx.run(sql::put_node, to_string(node->type), node->id, canonical(node->facts));
        !put)
      return put;
  }
  return tx.run(sql::put_edge, to_string(edge.from.type), edge.from.id, to_string(edge.to.type),
                edge.to.id, edge.activity, to_micros(clock_.now()), ctx.principal.name);
}

Result<Tree> Lineage::trace(const Node& root, Direction direction) const {
  return db_.read([&](db::Connection& connection) -> Result<Tree> {
    Walk walk{connection, direction, {}};
    Tree tree{.node = root};
    if (auto known = walk.facts(tree.node); !known) return known.error();
    if (auto filled = walk.fill(tree, 0); !filled) return filled.error();
    return tree;
  });
}

std::string render_text(const Tree& tree) {
  std::string text;
  render(tree, "", true, true, text);
  return text;
}

}  // namespace slipway::governance
