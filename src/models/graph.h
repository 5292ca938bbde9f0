// Several models that answer as one, declared in YAML:
//   version: 1
//   nodes:
//     trees: {model: late/3}
//     light: {model: late-light@champion}           # an alias is pinned to its version when
//     registered blend: {weighted: {trees: 0.7, light: 0.3}}   # or mean: [trees, light], vote:
//     [...] far:   {model: late-far/1, inputs: {blend: blend}}   # stack: a column that a node
//     fills route: {switch: [{when: {column: distance, above: 2000}, use: far}, {use: blend}]}
//   output: route
// A registered graph is a folder: graph.json, and below members/NODE/ every model it is made of, so
// that nothing that happens to a model later can change it.
//   auto spec = GraphSpec::load("graph.yaml");   // names, cycles and shapes are checked here
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"

namespace slipway::models {

struct GraphCondition {
  enum class Is { always, below, above, equal, missing } is = Is::always;
  std::string column;
  double number = 0;
  std::string text;  // of equal, when it is a text
};

struct GraphNode {
  enum class Kind { model, mean, weighted, vote, choose } kind = Kind::model;
  std::string name;
  std::string model;                          // "late/3", "late@champion"
  std::map<std::string, std::string> inputs;  // of a model: its column -> the node that fills it
  std::vector<std::string> of;                // the nodes it is made of
  std::vector<double> weights;                // as many as `of`
  double threshold = 0.5;                     // of a vote among P(class 1)
  std::vector<GraphCondition> when;           // as many as `of`; the last is `always`
};

struct GraphSpec {
  std::vector<GraphNode> nodes;  // each after those it is made of
  std::string output;

  static Result<GraphSpec> load(const std::string& path);
  static Result<GraphSpec> from_json(const Json& json);
  Json to_json() const;  // canonical form of graph.json

 private:
  static Result<GraphSpec> read(const SpecDocument& document);
};

}  // namespace slipway::models
