// `audit` and `lineage`.
#include <iostream>

#include "api/slipway_api.h"
#include "cli/command_internal.h"

namespace slipway::cli {
namespace {

int verify(const Globals& globals, Home& home) {
  auto verification = home.audit().verify();
  if (!verification) return fail(verification.error());
  if (globals.json) {
    Json json = {{"ok", verification->ok},
                 {"size", verification->head.size},
                 {"root", verification->head.root},
                 {"reason", verification->reason}};
    if (verification->first_bad) json["first_bad"] = *verification->first_bad;
    std::cout << json.dump(2) << "\n";
  } else if (verification->ok) {
    std::cout << green("whole") << ": " << verification->head.size << " entries, root "
              << verification->head.root << "\n";
  } else {
    std::cout << red("TAMPERED") << ": " << verification->reason << "\n";
  }
  return verification->ok ? 0 : kExitNo;
}

int list_entries(const Globals& globals, Home& home, const audit::Log::Filter& filter) {
  auto entries = home.audit().list(filter);
  if (!entries) return fail(entries.error());
  TextTable table({"#", "TIME", "ACTOR", "ACTION", "OBJECT"});
  Json all = Json::array();
  for (const audit::Entry& entry : *entries) {
    table.add({std::to_string(entry.sequence), format_time(entry.time).substr(0, 19),
               entry.event.actor, entry.event.action, entry.event.object});
    all.push_back(api::to_json(entry));
  }
  return print(globals, table, all);
}

// "late" (the champion's version, or a deployment), "late/3", "late@challenger", "dataset:flights",
// "file:<sha256>", "run:<id>".
Result<governance::Node> node_of(Home& home, const std::string& text) {
  using governance::NodeType;
  if (const auto colon = text.find(':'); colon != std::string::npos) {
    auto type = governance::parse_node_type(text.substr(0, colon));
    if (!type) return type.error();
    const std::string id = text.substr(colon + 1);
    if (*type == NodeType::dataset) {
      auto ref = home.datasets().resolve(id);
      if (!ref) return ref.error();
      return governance::Node{*type, ref->text()};
    }
    return governance::Node{*type, id};
  }
  if (text.find('/') != std::string::npos) return governance::Node{NodeType::model_version, text};
  const auto at = text.find('@');
  const std::string model = text.substr(0, at);
  if (at == std::string::npos && home.deployments().get(model))
    return governance::Node{NodeType::deployment, model};
  auto version = home.registry().find_by_alias(
      model, at == std::string::npos ? "champion" : text.substr(at + 1));
  if (!version) return version.error();
  return governance::Node{NodeType::model_version,
                          version->model + "/" + std::to_string(version->number)};
}

}  // namespace

void add_govern(CLI::App& app, Globals& globals) {
  CLI::App* audit = noun(app, "audit", "The tamper-evident log of everything that happened");
  CLI::App* check = audit->add_subcommand(
      "verify", "Prove the log whole, or name the entry that was tampered with (exit code 7)");
  check->add_flag("--json", globals.json, "Print JSON");
  check->footer("Example: slipway audit verify --home .slipway");
  check->callback([&globals] {
    globals.exit_code =
        with_home(globals, {.create = false}, [&](Home& home) { return verify(globals, home); });
  });

  auto filter = std::make_shared<audit::Log::Filter>();
  CLI::App* ls = audit->add_subcommand("ls", "List entries");
  ls->add_option("--action", filter->action_prefix, "Whose action begins so, such as alias.");
  ls->add_option("--object", filter->object_prefix, "Whose object begins so, such as models/late");
  ls->add_option("--actor", filter->actor, "By this actor");
  ls->add_option("--after", filter->after, "After this entry")->capture_default_str();
  ls->add_option("--limit", filter->limit, "At most so many")->capture_default_str();
  ls->add_flag("--json", globals.json, "Print JSON, with details and hashes");
  ls->footer("Example: slipway audit ls --action alias.");
  ls->callback([filter, &globals] {
    globals.exit_code = with_home(globals, {.create = false},
                                  [&](Home& home) { return list_entries(globals, home, *filter); });
  });

  struct Flags {
    std::string object;
    bool downstream = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* lineage = app.add_subcommand(
      "lineage",
      "What something was made of: raw files -> dataset -> run -> version -> deployment");
  lineage
      ->add_option(
          "object", flags->object,
          "MODEL, MODEL/VERSION, MODEL@ALIAS, a deployment, dataset:NAME, run:ID or file:SHA256")
      ->required();
  lineage->add_flag("--downstream", flags->downstream, "What was made of it instead");
  lineage->add_flag("--json", globals.json, "Print JSON");
  lineage->footer("Example: slipway lineage late");
  lineage->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto node = node_of(home, flags->object);
      if (!node) return fail(node.error());
      auto tree = home.lineage().trace(*node, flags->downstream ? governance::Direction::downstream
                                                                : governance::Direction::upstream);
      if (!tree) return fail(tree.error());
      std::cout << (globals.json ? tree->to_json().dump(2) + "\n" : governance::render_text(*tree));
      return 0;
    });
  });
}

}  // namespace slipway::cli
