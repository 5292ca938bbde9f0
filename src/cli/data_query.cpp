// `data query`: SQL over sources, without a home: a look at data, or one file made of others.
#include <iostream>

#include "base/file.h"
#include "cli/data_internal.h"
#include "data/engine.h"

namespace slipway::cli {
namespace {

constexpr std::int64_t kRowsShown = 50;

struct QueryFlags {
  std::string sql, sql_file, sources_file, out;
  std::vector<std::string> sources, nulls;
  std::int64_t memory_mb = 1024;
};

Result<std::map<std::string, data::Source>> read_sources(const QueryFlags& flags) {
  std::map<std::string, data::Source> sources;
  if (!flags.sources_file.empty()) {
    auto document = SpecDocument::load(flags.sources_file);
    if (!document) return document.error();
    SpecReader reader(*document);
    const auto folder = std::filesystem::path(flags.sources_file).parent_path();
    for (auto& [name, source] : reader.entries("sources")) {
      sources[name] = data::Source::read(source, folder);
      source.close();
    }
    if (auto sound = reader.finish(); !sound) return sound.error();
  }
  for (const auto& each : flags.sources) {
    const auto equals = each.find('=');
    if (equals == std::string::npos)
      return invalid_argument("'" + each + "': write name=path, such as flights=flights.csv");
    auto source = data::Source::of_file(each.substr(equals + 1));
    if (!source) return source.error();
    source->null_values = flags.nulls;
    sources[each.substr(0, equals)] = std::move(*source);
  }
  return sources;
}

std::string cell(const data::ColumnView& view, std::int64_t row) {
  if (view.is_null(row)) return "";
  switch (view.type) {
    case data::Type::text:
      return std::string(view.text(row));
    case data::Type::boolean:
      return view.boolean(row) ? "true" : "false";
    case data::Type::float64:
      return fmt::format("{}", view.real(row));
    case data::Type::timestamp:
      return format_time(from_micros(view.integer(row)));
    case data::Type::int64:
      break;
  }
  return std::to_string(view.integer(row));
}

Result<int> show_rows(const Globals& globals, const data::TablePtr& table) {
  auto columns = data::Columns::from_table(table);
  if (!columns) return columns.error();
  const data::Batch batch = columns->batch();
  TextTable shown(batch.schema->names());
  Json rows = Json::array();
  for (std::int64_t row = 0; row < std::min(batch.rows, kRowsShown); ++row) {
    std::vector<std::string> cells;
    Json one = Json::object();
    for (std::size_t i = 0; i < batch.columns.size(); ++i) {
      cells.push_back(cell(batch.columns[i], row));
      const auto& view = batch.columns[i];
      auto& value = one[batch.schema->fields[i].name];
      if (view.is_null(row)) continue;
      if (view.type == data::Type::int64)
        value = view.integer(row);
      else if (view.type == data::Type::float64)
        value = view.real(row);
      else if (view.type == data::Type::boolean)
        value = view.boolean(row);
      else
        value = cells.back();
    }
    shown.add(std::move(cells));
    rows.push_back(std::move(one));
  }
  const int code = print(globals, shown, rows);
  if (!globals.json && batch.rows > kRowsShown)
    std::cout << fmt::format("the first {} of {} rows; --out FILE.parquet writes all\n", kRowsShown,
                             batch.rows);
  return code;
}

Result<int> query(const Globals& globals, const QueryFlags& flags) {
  const Context ctx = interruptible_context();
  std::string sql = flags.sql;
  data::SqlOrigin origin;
  if (!flags.sql_file.empty()) {
    auto text = read_file(flags.sql_file);
    if (!text) return text.error();
    sql = std::move(*text);
    origin.file = flags.sql_file;
  }
  auto sources = read_sources(flags);
  if (!sources) return sources.error();
  // What is spilled goes where the result goes: that disk has to have room anyhow.
  const auto temp = flags.out.empty() ? std::filesystem::temp_directory_path()
                                      : std::filesystem::absolute(flags.out).parent_path();
  auto engine = data::Engine::open({.memory_limit_mb = flags.memory_mb, .temp_dir = temp});
  if (!engine) return engine.error();
  for (const auto& [name, source] : *sources) {
    if (auto added = (*engine)->add_source(ctx, name, source); !added) return added.error();
  }
  if (flags.out.empty()) {
    auto table = (*engine)->query(ctx, sql, origin);
    if (!table) return table.error();
    return show_rows(globals, *table);
  }
  auto rows = (*engine)->write_parquet(ctx, sql, flags.out, origin);
  if (!rows) return rows.error();
  if (globals.json) {
    std::cout << Json{{"rows", *rows}, {"file", flags.out}}.dump(2) << "\n";
  } else {
    std::cout << *rows << " rows in " << flags.out << "\n";
  }
  return 0;
}

}  // namespace

void add_data_query(CLI::App& data, Globals& globals) {
  auto flags = std::make_shared<QueryFlags>();
  CLI::App* one = data.add_subcommand(
      "query", "SQL over files, objects and databases; prints rows or writes Parquet");
  one->add_option("sql", flags->sql, "One SELECT in DuckDB's SQL");
  one->add_option("--sql-file", flags->sql_file, "The SELECT is in this file");
  one->add_option("--source", flags->sources, "name=path of a relation; may be repeated");
  one->add_option("--sources", flags->sources_file,
                  "YAML file with `sources` as in a pipeline's ingest step");
  one->add_option("--null", flags->nulls, "A text that stands for no value, such as NA");
  one->add_option("--out", flags->out, "Write all rows to this Parquet file");
  one->add_option("--memory", flags->memory_mb, "MiB the engine may use before it spills to disk");
  one->add_flag("--json", globals.json, "Print JSON");
  one->footer(
      "Example: slipway data query --source f=flights.csv --null NA "
      "'SELECT carrier, avg(dep_delay) AS delay FROM f GROUP BY carrier'");
  one->callback([flags, &globals] {
    if (flags->sql.empty() == flags->sql_file.empty()) {
      globals.exit_code = fail(invalid_argument("give either the SQL or --sql-file"));
      return;
    }
    auto code = query(globals, *flags);
    globals.exit_code = code ? *code : fail(code.error());
  });
}

}  // namespace slipway::cli
