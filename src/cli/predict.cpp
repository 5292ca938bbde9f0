// `predict`: a file through a registered model, in this process: the same code as the server's.
#include <unistd.h>

#include <iostream>

#include "cli/command_internal.h"
#include "cli/version_name_internal.h"
#include "data/engine.h"
#include "models/batch_file.h"
#include "serving/model_source.h"

namespace slipway::cli {
namespace {

constexpr std::chrono::milliseconds kPredictProgressEvery{250};

struct PredictFlags {
  std::string model;
  std::string output;
  models::BatchFileOptions file;
  models::RuntimeOptions runtime;
};

// One line on a terminal, written over.
class PredictProgress {
 public:
  explicit PredictProgress(const Clock& clock) : clock_(clock), started_(clock.steady()) {}
  ~PredictProgress() {
    if (shown_) std::cerr << "\r\033[K";
  }
  void operator()(std::int64_t done, std::int64_t all) {
    if (isatty(STDERR_FILENO) == 0 || clock_.steady() - last_ < kPredictProgressEvery) return;
    last_ = clock_.steady();
    const double seconds = std::chrono::duration<double>(last_ - started_).count();
    const std::string share =
        all > 0 ? fmt::format(" of {} ({:.0f} %)", all,
                              100.0 * static_cast<double>(done) / static_cast<double>(all))
                : std::string();
    std::cerr << fmt::format("\r\033[K{} rows{}, {:.0f} a second", done, share,
                             static_cast<double>(done) / std::max(seconds, 1e-3))
              << std::flush;
    shown_ = true;
  }

 private:
  const Clock& clock_;
  SteadyTime started_;
  SteadyTime last_;
  bool shown_ = false;
};

// Files that are read neither in pieces nor from the middle (JSONL, gzipped texts) become Parquet
// first.
Result<void> convert_input(const Context& ctx, PredictFlags& flags, const data::Schema& inputs,
                           const std::filesystem::path& work) {
  const auto ending = flags.file.input.extension();
  if (ending == ".parquet" || ending == ".csv" || ending == ".tsv") return {};
  auto source = data::Source::of_file(flags.file.input);
  if (!source) return source.error();
  source->null_values = flags.file.null_values;
  for (const data::Field& field : inputs.fields) source->types[field.name] = field.type;
  auto engine = data::Engine::open({.memory_limit_mb = 1024, .temp_dir = work});
  if (!engine) return engine.error();
  if (auto added = (*engine)->add_source("data", *source); !added) return added;
  flags.file.input = work / "input.parquet";
  auto rows = (*engine)->write_parquet(ctx, "SELECT * FROM data", flags.file.input);
  if (!rows) return rows.error();
  return {};
}

Result<void> predict(const Globals& globals, Home& home, PredictFlags& flags) {
  const Context ctx = interruptible_context();
  auto version = version_named(home, flags.model);
  if (!version) return version.error();
  auto work = TempDir::create(home.folder() / "tmp", "predict");
  if (!work) return work.error();
  if (auto live = home.live_views()->refresh(ctx); !live) return live.error();
  flags.runtime.views = home.live_views();
  serving::RegistrySource source(home.db(), home.registry(), home.blobs(), work->path());
  source.serve_mlflow(home.tracking(), flags.runtime);
  auto digest = source.digest_of(*version);
  if (!digest) return digest.error();
  auto folder = source.unpack(*digest);
  if (!folder) return folder.error();
  const auto model = models::load_servable(*folder, flags.runtime);
  if (!model) return model.error();

  if (auto read = convert_input(ctx, flags, (*model)->inputs(), work->path()); !read) return read;
  flags.file.model_digest = *digest;
  const bool print = flags.output.empty();
  flags.file.output = print ? work->path() / "scores.csv" : std::filesystem::path(flags.output);
  // Without an output only the scores are printed: no column of the input has this name.
  if (print) flags.file.keep = {(*model)->inputs().fields.front().name};
  PredictProgress progress(home.clock());
  const auto report = models::predict_file(ctx, **model, flags.file, std::ref(progress));
  if (!report) return report.error();
  if (print) {
    const auto text = read_file(flags.file.output);
    if (!text) return text.error();
    std::string_view rest = std::string_view(*text).substr(text->find('\n') + 1);
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view line = rest.substr(0, end);
      std::cout << line.substr(line.rfind(',') + 1) << "\n";
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return {};
  }
  if (globals.json) {
    std::cout << Json{{"rows", report->rows},
                      {"resumed_rows", report->resumed_rows},
                      {"model", version->model},
                      {"version", version->number},
                      {"output", flags.output}}
                     .dump()
              << "\n";
    return {};
  }
  std::cout << fmt::format("{} rows scored by {} version {} into {}", report->rows, version->model,
                           version->number, flags.output);
  if (report->resumed_rows > 0)
    std::cout << fmt::format(" ({} of them by the run before)", report->resumed_rows);
  std::cout << "\n";
  return {};
}

}  // namespace

void add_predict(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<PredictFlags>();
  CLI::App* command =
      app.add_subcommand("predict", "Score a file of raw columns with a registered model");
  command->add_option("model", flags->model, "MODEL (its champion), MODEL@ALIAS or MODEL/VERSION")
      ->required();
  command->add_option("input", flags->file.input, "Parquet, CSV, TSV or JSONL")->required();
  command->add_option("output,-o,--output", flags->output,
                      "Parquet or CSV file for the rows with their score; without it the scores "
                      "are printed. A run that was cut off goes on where it stopped");
  command->add_option("--keep", flags->file.keep, "Columns of the input to write; all without it")
      ->delimiter(',');
  command->add_option("--score", flags->file.score, "Name of the column with the score");
  command->add_flag("--contributions", flags->file.contributions,
                    "Also what each feature adds to the score (SHAP values), for trees");
  command->add_option("--null", flags->file.null_values,
                      "A text in a CSV that stands for no value, such as NA");
  command->add_option("--threads", flags->file.threads, "Threads; all processors without it");
  command->add_option("--model-python", flags->runtime.workers.python,
                      "Interpreter of a virtual environment for models that only Python can run");
  command->footer(
      "Example: slipway predict late flights.parquet scored.parquet --keep carrier,flight");
  command->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto done = predict(globals, home, *flags);
      return done ? 0 : fail(done.error());
    });
  });
}

}  // namespace slipway::cli
