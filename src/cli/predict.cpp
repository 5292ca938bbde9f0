// `predict`: a file through a registered model, in this process: the same bundle and code as the
// server's.
#include <iostream>

#include "cli/command_internal.h"
#include "data/engine.h"
#include "models/bundle.h"

namespace slipway::cli {
namespace {

struct PredictFlags {
  std::string model, file, output;
  std::vector<std::string> nulls;
};

Result<registry::ModelVersion> find_version(Home& home, const std::string& text) {
  if (const auto slash = text.find('/'); slash != std::string::npos) {
    std::int64_t number = 0;
    const std::string digits = text.substr(slash + 1);
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (problem != std::errc{} || end != digits.data() + digits.size())
      return invalid_argument("'" + text +
                              "' has no version number: write MODEL/3 or MODEL@champion");
    return home.registry().version(text.substr(0, slash), number);
  }
  const auto at = text.find('@');
  return home.registry().find_by_alias(text.substr(0, at),
                                       at == std::string::npos ? "champion" : text.substr(at + 1));
}

Result<data::TablePtr> table_of_scores(const std::vector<double>& scores) {
  data::BatchBuilder builder({{{"score", data::Type::float64, true}}});
  for (const double score : scores) builder.append_real(0, score);
  return builder.to_table();
}

Result<void> predict(Home& home, const PredictFlags& flags) {
  const Context ctx = interruptible_context();
  auto version = find_version(home, flags.model);
  if (!version) return version.error();
  auto work = TempDir::create(home.folder() / "tmp", "predict");
  if (!work) return work.error();
  if (auto out = home.blobs().get_tree(version->digest, work->path() / "bundle"); !out) return out;
  if (auto live = home.live_views()->refresh(ctx); !live) return live.error();
  auto bundle = models::Bundle::load(work->path() / "bundle", home.live_views());
  if (!bundle) return bundle.error();
  auto source = data::Source::of_file(flags.file);
  if (!source) return source.error();
  source->null_values = flags.nulls;
  for (const data::Field& field : bundle->inputs().fields) {
    if (source->kind != data::Source::Kind::parquet) source->types[field.name] = field.type;
  }
  auto engine = data::Engine::open({.memory_limit_mb = 1024, .temp_dir = work->path()});
  if (!engine) return engine.error();
  if (auto added = (*engine)->add_source("data", *source); !added) return added;
  auto table = (*engine)->query(ctx, "SELECT * FROM data");
  if (!table) return table.error();
  auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  std::vector<double> scores(static_cast<std::size_t>(columns->rows()));
  if (auto done = bundle->predict(columns->batch(), scores); !done) return done;
  if (flags.output.empty()) {
    for (const double score : scores) std::cout << fmt::format("{}\n", score);
    return {};
  }
  auto scored = table_of_scores(scores);
  if (!scored) return scored.error();
  if (auto added = (*engine)->add_table("rows", *table); !added) return added;
  if (auto added = (*engine)->add_table("scores", *scored); !added) return added;
  if (!flags.output.ends_with(".parquet"))
    return invalid_argument("'" + flags.output + "' has to end in .parquet");
  auto rows =
      (*engine)->write_parquet(ctx, "SELECT * FROM rows POSITIONAL JOIN scores", flags.output);
  if (!rows) return rows.error();
  std::cout << fmt::format("{} rows scored by {} version {} into {}\n", *rows, version->model,
                           version->number, flags.output);
  return {};
}

}  // namespace

void add_predict(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<PredictFlags>();
  CLI::App* command =
      app.add_subcommand("predict", "Score a file of raw columns with a registered model");
  command->add_option("model", flags->model, "MODEL (its champion), MODEL@ALIAS or MODEL/VERSION")
      ->required();
  command->add_option("file", flags->file, "CSV, Parquet or JSONL")->required();
  command->add_option(
      "-o,--output", flags->output,
      "Parquet file for the rows with their score; without it the scores are printed");
  command->add_option("--null", flags->nulls, "A text that stands for no value, such as NA");
  command->footer("Example: slipway predict late flights.parquet -o scored.parquet");
  command->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto done = predict(home, *flags);
      return done ? 0 : fail(done.error());
    });
  });
}

}  // namespace slipway::cli
