// `features`: views of a key's past, and fitted pipelines for other programs.
#include <cmath>
#include <iostream>

#include "base/file.h"
#include "cli/command_internal.h"
#include "data/engine.h"
#include "features/onnx.h"

namespace slipway::cli {
namespace {

Result<std::vector<features::ViewSpec>> views_of_file(const std::string& path) {
  const auto document = SpecDocument::load(path);
  if (!document) return document.error();
  SpecReader reader(*document);
  auto views = features::ViewSpec::read_list(reader);
  if (const auto sound = reader.finish(); !sound) return sound.error();
  if (views.empty()) return invalid_argument(path + " declares no views; it needs a list `views`");
  return views;
}

Result<void> materialise(Home& home, const std::string& path, const std::string& version) {
  const Context ctx = interruptible_context();
  auto views = views_of_file(path);
  if (!views) return views.error();
  if (!version.empty() && views->size() > 1)
    return invalid_argument("--version goes with one view, and " + path + " declares several");
  for (const features::ViewSpec& spec : *views) {
    auto record = home.views().materialise(ctx, spec, version);
    if (!record) return record.error();
    std::cout << fmt::format("{} is looked up in {}\n", spec.name, record->version);
  }
  return {};
}

// What each view is looked up in, and how new the newest thing in it is.
Result<int> list_views(const Globals& globals, Home& home) {
  const Context ctx = interruptible_context();
  auto records = home.views().list();
  if (!records) return records.error();
  TextTable table({"NAME", "DATASET VERSION", "EVENTS", "KEYS", "NEWEST EVENT", "SWITCHED"});
  Json json = Json::array();
  for (const features::ViewRecord& record : *records) {
    auto view = home.views().load(ctx, record.spec, record.version);
    if (!view) return view.error();
    const auto newest = (*view)->newest_event();
    const std::string event = newest ? format_time(*newest) : "";
    const std::string switched = format_time(record.switched);
    table.add({record.spec.name, record.version.substr(0, record.spec.dataset.size() + 13),
               std::to_string((*view)->events()), std::to_string((*view)->keys()), event,
               switched});
    json.push_back({{"name", record.spec.name},
                    {"version", record.version},
                    {"events", (*view)->events()},
                    {"keys", (*view)->keys()},
                    {"newest_event", event},
                    {"switched", switched},
                    {"switched_by", record.switched_by},
                    {"spec", record.spec.to_json()}});
  }
  return print(globals, table, json);
}

struct Fitted {
  registry::ModelVersion version;
  features::Pipeline pipeline;
};

Result<Fitted> pipeline_of(Home& home, const std::string& model) {
  const auto at = model.find('@');
  auto version = home.registry().find_by_alias(
      model.substr(0, at), at == std::string::npos ? "champion" : model.substr(at + 1));
  if (!version) return version.error();
  auto work = TempDir::create(home.folder() / "tmp", "features");
  if (!work) return work.error();
  const auto folder = work->path() / "bundle";
  if (auto out = home.blobs().get_tree(version->digest, folder); !out) return out.error();
  const auto text = read_file(folder / "features.json");
  if (!text) return text.error();
  const auto json = parse_json(*text, "features.json");
  if (!json) return json.error();
  auto pipeline = features::Pipeline::from_json(*json);
  if (!pipeline) return pipeline.error();
  if (auto live = home.live_views()->refresh({}); !live) return live.error();
  return Fitted{std::move(*version), pipeline->with_views(home.live_views())};
}

Result<void> export_onnx(Home& home, const std::string& model, const std::string& output) {
  const auto fitted = pipeline_of(home, model);
  if (!fitted) return fitted.error();
  const auto bytes = features::to_onnx(fitted->pipeline);
  if (!bytes) return bytes.error();
  if (auto written = write_file_atomic(output, *bytes); !written) return written;
  std::cout << fmt::format(
      "{} inputs, {} features of {} version {} in {}\n", fitted->pipeline.inputs().fields.size(),
      fitted->pipeline.outputs().size(), fitted->version.model, fitted->version.number, output);
  return {};
}

// The matrix that a file of raw columns becomes, as a Parquet file with a column a feature.
Result<void> transform(Home& home, const std::string& model, const std::string& file,
                       const std::string& output) {
  const Context ctx = interruptible_context();
  const auto fitted = pipeline_of(home, model);
  if (!fitted) return fitted.error();
  const features::Pipeline& pipeline = fitted->pipeline;
  auto source = data::Source::of_file(file);
  if (!source) return source.error();
  for (const data::Field& field : pipeline.inputs().fields) {
    if (source->kind != data::Source::Kind::parquet) source->types[field.name] = field.type;
  }
  auto work = TempDir::create(home.folder() / "tmp", "features");
  if (!work) return work.error();
  auto engine = data::Engine::open({.memory_limit_mb = 1024, .temp_dir = work->path()});
  if (!engine) return engine.error();
  if (auto added = (*engine)->add_source("data", *source); !added) return added;
  const auto table = (*engine)->query(ctx, "SELECT * FROM data");
  if (!table) return table.error();
  const auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  const std::size_t cols = pipeline.outputs().size();
  std::vector<float> matrix(static_cast<std::size_t>(columns->rows()) * cols);
  if (auto done = pipeline.transform(columns->batch(), matrix); !done) return done;
  data::Schema schema;
  for (const std::string& name : pipeline.outputs())
    schema.fields.push_back({name, data::Type::float64, true});
  data::BatchBuilder builder(schema);
  for (std::size_t i = 0; i < matrix.size(); ++i) {
    std::isnan(matrix[i]) ? builder.append_null(i % cols)
                          : builder.append_real(i % cols, matrix[i]);
  }
  const auto features = builder.to_table();
  if (!features) return features.error();
  if (auto added = (*engine)->add_table("features", *features); !added) return added;
  const auto rows = (*engine)->write_parquet(ctx, "SELECT * FROM features", output);
  if (!rows) return rows.error();
  std::cout << fmt::format("{} rows of {} features of {} version {} into {}\n", *rows, cols,
                           fitted->version.model, fitted->version.number, output);
  return {};
}

}  // namespace

void add_features(CLI::App& app, Globals& globals) {
  CLI::App* features = noun(app, "features", "Views of a key's past; feature pipelines");
  struct Flags {
    std::string file, version, model, output, name;
  };
  auto flags = std::make_shared<Flags>();
  const auto run = [&globals](auto body) {
    globals.exit_code = with_home(globals, {}, [&](Home& home) -> int {
      auto done = body(home);
      return done ? 0 : fail(done.error());
    });
  };

  CLI::App* make = features->add_subcommand(
      "materialise", "Look the views of a file up in the newest version of their datasets");
  make->add_option("file", flags->file, "YAML with a list `views`")->required();
  make->add_option("--version", flags->version,
                   "NAME@VERSION of the dataset, instead of the newest");
  make->footer("Example: slipway features materialise views.yaml");
  make->callback([flags, run] {
    run([&](Home& home) { return materialise(home, flags->file, flags->version); });
  });

  CLI::App* list = features->add_subcommand("views", "List the views and how new they are");
  list->add_flag("--json", globals.json, "Print JSON");
  list->footer("Example: slipway features views --json");
  list->callback([&globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto done = list_views(globals, home);
      return done ? *done : fail(done.error());
    });
  });

  CLI::App* drop =
      features->add_subcommand("drop", "Forget a view; models that look up in it fail");
  drop->add_option("name", flags->name)->required();
  drop->footer("Example: slipway features drop carrier_past");
  drop->callback([flags, run] {
    run([&](Home& home) { return home.views().drop(interruptible_context(), flags->name); });
  });

  CLI::App* matrix = features->add_subcommand(
      "transform", "Write what a model sees of a file of raw columns, as Parquet");
  matrix->add_option("model", flags->model, "MODEL (its champion) or MODEL@ALIAS")->required();
  matrix->add_option("file", flags->file, "CSV, Parquet or JSONL")->required();
  matrix->add_option("-o,--output", flags->output, "Parquet file to write")->required();
  matrix->footer("Example: slipway features transform late flights.parquet -o features.parquet");
  matrix->callback([flags, run] {
    run([&](Home& home) { return transform(home, flags->model, flags->file, flags->output); });
  });

  CLI::App* onnx = features->add_subcommand(
      "export-onnx", "Write a model's fitted feature pipeline as an ONNX model");
  onnx->add_option("model", flags->model, "MODEL (its champion) or MODEL@ALIAS")->required();
  onnx->add_option("-o,--output", flags->output, "File to write")->required();
  onnx->footer("Example: slipway features export-onnx late@champion -o features.onnx");
  onnx->callback([flags, run] {
    run([&](Home& home) { return export_onnx(home, flags->model, flags->output); });
  });
}

}  // namespace slipway::cli
