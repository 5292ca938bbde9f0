// Ingest, join, validate and write the flights, for bench/data_ingest.py, which does the same in
// polars:
//   data_bench --flights DIR --sql FILE --out FILE [--rounds N]
// prints one JSON object: the best of N rounds in seconds, and what else is worth knowing.
#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdio>

#include "base/file.h"
#include "base/parallel.h"
#include "data/datasets.h"
#include "data/engine.h"
#include "data/profile.h"
#include "data/validation.h"

namespace slipway::data {
namespace {

constexpr const char* kExpectations = R"(
expectations:
  - {check: row_count, min: 300000, max: 340000}
  - {check: not_null, columns: [flight_id, time_hour, carrier, origin, dest, late]}
  - {check: unique, columns: [flight_id]}
  - {check: in_set, column: origin, values: [EWR, JFK, LGA]}
  - {check: matches, column: carrier, pattern: "[0-9A-Z]{2}"}
  - {check: range, column: distance, min: 0, max: 6000}
  - {check: range, column: temp, min: -20, max: 120}
  - {check: null_share, column: wind_gust, max: 0.9}
  - {check: mean, column: late, min: 0.2, max: 0.3}
)";

struct Options {
  std::filesystem::path flights, sql, out;
  int rounds = 3;
};

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// One round, from the raw files to a checked Parquet file.
Result<std::int64_t> ingest(const Options& options, const std::string& sql) {
  auto engine = Engine::open({.temp_dir = options.out.parent_path()});
  if (!engine) return engine.error();
  for (const std::string name : {"flights", "weather", "planes"}) {
    auto source = Source::of_file(options.flights / (name + ".csv"));
    if (!source) return source.error();
    source->null_values = {"NA"};
    if (name != "planes") source->types = {{"time_hour", Type::timestamp}};
    if (auto added = (*engine)->add_source(name, *source); !added) return added.error();
  }
  const auto rows = (*engine)->write_parquet({}, sql, options.out);
  if (!rows) return rows.error();
  auto written = Source::of_file(options.out);
  if (auto added = (*engine)->add_source("written", *written); !added) return added.error();
  const auto doc = SpecDocument::parse(kExpectations, "expectations");
  if (!doc) return doc.error();
  SpecReader reader(*doc);
  const auto expectations = read_expectations(reader, "expectations");
  if (auto sound = reader.finish(); !sound) return sound.error();
  const auto validation = validate({}, **engine, "written", expectations);
  if (!validation) return validation.error();
  if (!validation->report.ok()) return failed_precondition(render_text(validation->report));
  return *rows;
}

Result<Json> measure(const Options& options) {
  const SystemClock clock;
  const auto seconds_since = [&clock](SteadyTime start) {
    return std::chrono::duration<double>(clock.steady() - start).count();
  };
  const auto sql = read_file(options.sql);
  if (!sql) return sql.error();
  Json figures = {{"threads", default_threads()}};
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < options.rounds; ++round) {
    const auto start = clock.steady();
    const auto rows = ingest(options, *sql);
    if (!rows) return rows.error();
    best = std::min(best, seconds_since(start));
    figures["rows"] = *rows;
  }
  figures["ingest_s"] = best;
  figures["ingest_peak_mib"] = peak_mib();

  auto start = clock.steady();
  const auto table = read_parquet({}, {options.out});
  if (!table) return table.error();
  const auto columns = Columns::from_table(*table);
  if (!columns) return columns.error();
  figures["load_s"] = seconds_since(start);
  start = clock.steady();
  const auto profile = Profile::of(columns->batch(), {});
  if (!profile) return profile.error();
  figures["profile_s"] = seconds_since(start);
  figures["columns"] = profile->columns.size();

  // One row of a request: every column appended, viewed, and the buffers reused.
  BatchBuilder builder(columns->schema());
  Batch view;
  constexpr int kRows = 100'000;
  start = clock.steady();
  for (int row = 0; row < kRows; ++row) {
    builder.clear();
    for (std::size_t i = 0; i < builder.schema().fields.size(); ++i) {
      switch (builder.schema().fields[i].type) {
        case Type::text:
          builder.append_text(i, "carrier");
          break;
        case Type::boolean:
          builder.append_boolean(i, true);
          break;
        case Type::float64:
          builder.append_real(i, row);
          break;
        default:
          builder.append_integer(i, row);
      }
    }
    if (auto viewed = builder.view(view); !viewed) return viewed.error();
  }
  figures["row_us"] = seconds_since(start) / kRows * 1e6;
  return figures;
}

int run(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view key = argv[i];
    if (key == "--flights") options.flights = argv[i + 1];
    if (key == "--sql") options.sql = argv[i + 1];
    if (key == "--out") options.out = argv[i + 1];
    if (key == "--rounds") options.rounds = std::atoi(argv[i + 1]);
  }
  if (options.flights.empty() || options.sql.empty() || options.out.empty()) {
    fmt::print(stderr, "usage: data_bench --flights DIR --sql FILE --out FILE [--rounds N]\n");
    return 2;
  }
  const auto figures = measure(options);
  if (!figures) {
    fmt::print(stderr, "{}\n", figures.error().message);
    return 1;
  }
  fmt::print("{}\n", figures->dump());
  return 0;
}

}  // namespace
}  // namespace slipway::data

int main(int argc, char** argv) { return slipway::data::run(argc, argv); }
