// `graph`: several registered models as one version of another.
#include <iostream>

#include "base/file.h"
#include "cli/command_internal.h"
#include "cli/version_name_internal.h"
#include "models/graph.h"
#include "models/servable.h"
#include "serving/model_source.h"

namespace slipway::cli {
namespace {

struct GraphFlags {
  std::string model;
  std::string file;
  std::vector<std::string> aliases;
  std::string description;
  models::RuntimeOptions runtime;
};

// graph.json and every model's files, as they are now.
Result<registry::ModelVersion> register_graph(const Context& ctx, Home& home,
                                              const GraphFlags& flags) {
  auto spec = models::GraphSpec::load(flags.file);
  if (!spec) return spec.error();
  auto work = TempDir::create(home.folder() / "tmp", "graph");
  if (!work) return work.error();
  serving::RegistrySource source(home.db(), home.registry(), home.blobs(), work->path() / "cache");
  source.serve_mlflow(home.tracking(), flags.runtime);
  const auto folder = work->path() / "graph";
  if (auto made = make_dirs(folder / "members"); !made) return made.error();
  Json pins = Json::object();
  for (models::GraphNode& node : spec->nodes) {
    if (node.kind != models::GraphNode::Kind::model) continue;
    const auto version = version_named(home, node.model);
    if (!version) return version.error().at("node '" + node.name + "'");
    const auto digest = source.digest_of(*version);
    if (!digest) return digest.error().at("node '" + node.name + "'");
    const auto files = source.unpack(*digest);
    if (!files) return files.error().at("node '" + node.name + "'");
    std::error_code error;
    std::filesystem::copy(*files, folder / "members" / node.name,
                          std::filesystem::copy_options::recursive, error);
    if (error) return internal("copying a model's files: " + error.message());
    node.model = fmt::format("{}/{}", version->model, version->number);
    pins[node.name] = {{"model", node.model}, {"digest", *digest}};
  }
  if (auto written = write_file_atomic(folder / "graph.json", canonical(spec->to_json())); !written)
    return written.error();
  // What cannot be served is not registered.
  if (auto servable = models::load_servable(folder, flags.runtime); !servable)
    return servable.error();
  const auto tree = home.blobs().put_tree(folder);
  if (!tree) return tree.error();
  if (auto model = home.registry().ensure_model(ctx, flags.model); !model) return model.error();
  auto version =
      home.registry().create_version(ctx, flags.model,
                                     {.source = "slipway:/bundles/" + tree->sha256,
                                      .digest = tree->sha256,
                                      .description = flags.description,
                                      .metadata = {{"graph", spec->to_json()}, {"members", pins}}});
  if (!version) return version;
  for (const std::string& alias : flags.aliases) {
    auto moved = home.registry().set_alias(ctx, flags.model, alias, version->number);
    if (!moved) return moved.error();
  }
  return version;
}

}  // namespace

void add_graph(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<GraphFlags>();
  CLI::App* graph = noun(app, "graph", "Several models that answer as one");
  CLI::App* check = graph->add_subcommand("check", "Say whether a graph is well made");
  check->add_option("file", flags->file, "The graph's YAML")->required();
  check->footer("Example: slipway graph check blend.yaml");
  check->callback([flags, &globals] {
    const auto spec = models::GraphSpec::load(flags->file);
    if (!spec) {
      globals.exit_code = fail(spec.error());
      return;
    }
    std::cout << (globals.json ? spec->to_json().dump()
                               : fmt::format("{} is well made: {} nodes, the answer is '{}'",
                                             flags->file, spec->nodes.size(), spec->output))
              << "\n";
  });
  CLI::App* add = graph->add_subcommand(
      "register", "Make a graph a version of a model; what it is made of is pinned and copied");
  add->add_option("model", flags->model, "Name of the registered model")->required();
  add->add_option("file", flags->file, "The graph's YAML")->required();
  add->add_option("--alias", flags->aliases, "Aliases that shall point at the new version");
  add->add_option("--description", flags->description, "What it is for");
  add->add_option("--model-python", flags->runtime.workers.python,
                  "Interpreter of a virtual environment for members that only Python can run");
  add->footer("Example: slipway graph register late-blend blend.yaml --alias champion");
  add->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      const Context ctx = interruptible_context();
      const auto version = register_graph(ctx, home, *flags);
      if (!version) return fail(version.error());
      std::cout << (globals.json
                        ? Json{{"model", version->model}, {"version", version->number}}.dump()
                        : fmt::format("{} version {} registered", version->model, version->number))
                << "\n";
      return 0;
    });
  });
}

}  // namespace slipway::cli
