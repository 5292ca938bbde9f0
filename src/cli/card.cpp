// `slipway models card`: what a version is, what it was made of, how well it does, and what nobody
// has said about it yet.
#include <iostream>

#include "cli/command_internal.h"
#include "governance/modelcard.h"

namespace slipway::cli {
namespace {

// "late" is its champion, else its newest version; "late/3" and "late@baseline" say which.
Result<registry::ModelVersion> version_named(Home& home, const std::string& text) {
  if (const auto at = text.find('@'); at != std::string::npos)
    return home.registry().find_by_alias(text.substr(0, at), text.substr(at + 1));
  const auto slash = text.find('/');
  if (slash == std::string::npos) {
    auto champion = home.registry().find_by_alias(text, "champion");
    return champion ? champion : home.registry().latest_version(text);
  }
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, problem] = std::from_chars(text.data() + slash + 1, end, number);
  if (problem != std::errc{} || stopped != end)
    return invalid_argument("'" + text + "' names no version: write MODEL, MODEL/3 or MODEL@ALIAS");
  return home.registry().version(text.substr(0, slash), number);
}

Result<governance::ModelCardFacts> gather(Home& home, const registry::ModelVersion& version) {
  governance::ModelCardFacts facts = governance::facts_of(version);
  if (const std::string digest = version.metadata.value("evaluation", ""); !digest.empty()) {
    auto text = home.blobs().read(digest);
    if (!text) return text.error();
    auto json = parse_json(*text, "the evaluation");
    if (!json) return json.error();
    facts.evaluation = std::move(*json);
  }
  auto gates = home.registry().gates(version.model, version.number);
  if (!gates) return gates.error();
  if (!gates->empty()) facts.gate = gates->back().decision;
  const governance::Node node{governance::NodeType::model_version,
                              version.model + "/" + std::to_string(version.number)};
  auto lineage = home.lineage().trace(node, governance::Direction::upstream);
  if (!lineage && lineage.error().code != Code::not_found) return lineage.error();
  if (lineage) facts.lineage = std::move(*lineage);
  return facts;
}

}  // namespace

int show_card(const Globals& globals, Home& home, const std::string& name) {
  auto version = version_named(home, name);
  if (!version) return fail(version.error());
  auto facts = gather(home, *version);
  if (!facts) return fail(facts.error());
  if (globals.json) {
    std::cout << governance::model_card_json(*facts).dump(2) << "\n";
  } else {
    std::cout << governance::model_card_markdown(*facts);
  }
  return 0;
}

}  // namespace slipway::cli
