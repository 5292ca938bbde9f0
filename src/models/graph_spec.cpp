#include <cmath>

#include "models/graph.h"

namespace slipway::models {
namespace {

constexpr std::size_t kMostGraphNodes = 64;

void read_condition(SpecReader& entry, GraphCondition& into) {
  if (!entry.has("when")) return;
  SpecReader when = entry.object("when");
  into.column = when.text("column");
  int said = 0;
  for (const auto& [key, is] : {std::pair{"below", GraphCondition::Is::below},
                                std::pair{"above", GraphCondition::Is::above}}) {
    if (!when.has(key)) continue;
    ++said;
    into.is = is;
    into.number = when.number(key);
  }
  if (when.has("equal")) {
    ++said;
    into.is = GraphCondition::Is::equal;
    const Json value = when.json("equal");
    if (value.is_string()) {
      into.text = value.get<std::string>();
    } else if (value.is_number()) {
      into.number = value.get<double>();
      into.text.clear();
    } else {
      when.problem("equal", "wanted a number or a text");
    }
  }
  if (when.has("missing")) {
    ++said;
    into.is = GraphCondition::Is::missing;
    if (!when.boolean("missing", true))
      when.problem("missing", "wanted true, or another condition");
  }
  if (said != 1)
    when.problem("", "a condition has a column and one of below, above, equal and missing");
  when.close();
}

GraphNode read_node(const std::string& name, SpecReader& reader) {
  GraphNode node{.name = name};
  int kinds = 0;
  if (reader.has("model")) {
    ++kinds;
    node.model = reader.text("model");
    SpecReader inputs = reader.object("inputs");
    for (const std::string& column : inputs.keys()) {
      node.inputs[column] = inputs.text(column);
      node.of.push_back(node.inputs[column]);
    }
  }
  if (reader.has("mean")) {
    ++kinds;
    node.kind = GraphNode::Kind::mean;
    node.of = reader.texts("mean");
    node.weights.assign(node.of.size(), 1.0);
  }
  if (reader.has("vote")) {
    ++kinds;
    node.kind = GraphNode::Kind::vote;
    node.of = reader.texts("vote");
    node.weights.assign(node.of.size(), 1.0);
    node.threshold = reader.number("threshold", 0.5);
  }
  if (reader.has("weighted")) {
    ++kinds;
    node.kind = GraphNode::Kind::weighted;
    SpecReader weights = reader.object("weighted");
    for (const std::string& of : weights.keys()) {
      node.of.push_back(of);
      node.weights.push_back(weights.number(of));
      if (!(node.weights.back() >= 0) || !std::isfinite(node.weights.back()))
        weights.problem(of, "a weight is a number from 0 on");
    }
  }
  if (reader.has("switch")) {
    ++kinds;
    node.kind = GraphNode::Kind::choose;
    for (SpecReader& entry : reader.list("switch")) {
      node.of.push_back(entry.text("use"));
      read_condition(entry, node.when.emplace_back());
      entry.close();
    }
    for (std::size_t i = 0; i < node.when.size(); ++i) {
      const bool last = i + 1 == node.when.size();
      if ((node.when[i].is == GraphCondition::Is::always) != last)
        reader.problem("switch", "all entries but the last have a 'when', and the last has none");
    }
  }
  if (kinds != 1) reader.problem("", "a node has one of model, mean, weighted, vote and switch");
  if (node.kind != GraphNode::Kind::model && node.of.empty())
    reader.problem("", "a node that combines names at least one other node");
  double total = 0;
  for (const double weight : node.weights) total += weight;
  if (!node.weights.empty() && !(total > 0)) reader.problem("", "its weights add up to nothing");
  reader.close();
  return node;
}

// Puts each node after those it is made of; what is left over is a cycle.
Result<std::vector<GraphNode>> in_order(std::vector<GraphNode> nodes) {
  std::vector<GraphNode> ordered;
  std::vector<std::string> done;
  while (!nodes.empty()) {
    const auto ready = std::find_if(nodes.begin(), nodes.end(), [&](const GraphNode& node) {
      return std::ranges::all_of(node.of, [&](const std::string& of) {
        return std::ranges::find(done, of) != done.end();
      });
    });
    if (ready == nodes.end()) {
      std::string names;
      for (const GraphNode& node : nodes) names += (names.empty() ? "" : ", ") + node.name;
      return invalid_argument("nodes are made of each other in a circle: " + names);
    }
    done.push_back(ready->name);
    ordered.push_back(std::move(*ready));
    nodes.erase(ready);
  }
  return ordered;
}

}  // namespace

Result<GraphSpec> GraphSpec::load(const std::string& path) {
  const auto document = SpecDocument::load(path);
  if (!document) return document.error();
  return read(*document);
}

Result<GraphSpec> GraphSpec::from_json(const Json& json) {
  return read(SpecDocument::from_json(json, "graph.json"));
}

Result<GraphSpec> GraphSpec::read(const SpecDocument& document) {
  SpecReader reader(document);
  GraphSpec spec;
  if (reader.integer("version", 1) != 1) reader.problem("version", "version 1 is read here");
  std::vector<GraphNode> nodes;
  std::vector<std::string> names;
  for (auto& [name, node] : reader.entries("nodes")) {
    const bool plain = !name.empty() && name.size() <= 100 && name.front() != '.' &&
                       std::ranges::all_of(name, [](char c) {
                         return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
                       });
    if (!plain)
      reader.problem("nodes", "'" + name + "' is no name: letters, digits, '_', '-', '.'");
    nodes.push_back(read_node(name, node));
    names.push_back(name);
  }
  if (nodes.empty() || nodes.size() > kMostGraphNodes)
    reader.problem("nodes", fmt::format("wanted 1 to {} nodes", kMostGraphNodes));
  spec.output = reader.text("output");
  std::vector<std::string> used = {spec.output};
  for (const GraphNode& node : nodes) used.insert(used.end(), node.of.begin(), node.of.end());
  for (const std::string& of : used) {
    if (std::ranges::find(names, of) != names.end()) continue;
    const auto near = nearest(of, names);
    reader.problem("nodes",
                   near ? fmt::format("there is no node '{}'; did you mean '{}'?", of, *near)
                        : fmt::format("there is no node '{}'", of));
  }
  for (const std::string& name : names) {
    if (std::ranges::find(used, name) == used.end())
      reader.problem("nodes", fmt::format("nothing uses the node '{}'", name));
  }
  if (auto good = reader.finish(); !good) return good.error();
  auto ordered = in_order(std::move(nodes));
  if (!ordered) return ordered.error().at(document.name());
  spec.nodes = std::move(*ordered);
  return spec;
}

Json GraphSpec::to_json() const {
  Json all = Json::object();
  for (const GraphNode& node : nodes) {
    Json& json = all[node.name];
    switch (node.kind) {
      case GraphNode::Kind::model:
        json["model"] = node.model;
        if (!node.inputs.empty()) json["inputs"] = node.inputs;
        break;
      case GraphNode::Kind::mean:
        json["mean"] = node.of;
        break;
      case GraphNode::Kind::vote:
        json["vote"] = node.of;
        json["threshold"] = node.threshold;
        break;
      case GraphNode::Kind::weighted:
        for (std::size_t i = 0; i < node.of.size(); ++i)
          json["weighted"][node.of[i]] = node.weights[i];
        break;
      case GraphNode::Kind::choose:
        json["switch"] = Json::array();
        for (std::size_t i = 0; i < node.of.size(); ++i) {
          Json entry = {{"use", node.of[i]}};
          const GraphCondition& when = node.when[i];
          if (when.is != GraphCondition::Is::always) entry["when"]["column"] = when.column;
          if (when.is == GraphCondition::Is::below) entry["when"]["below"] = when.number;
          if (when.is == GraphCondition::Is::above) entry["when"]["above"] = when.number;
          if (when.is == GraphCondition::Is::missing) entry["when"]["missing"] = true;
          if (when.is == GraphCondition::Is::equal) {
            entry["when"]["equal"] = when.text.empty() ? Json(when.number) : Json(when.text);
          }
          json["switch"].push_back(std::move(entry));
        }
        break;
    }
  }
  return {{"version", 1}, {"nodes", std::move(all)}, {"output", output}};
}

}  // namespace slipway::models
