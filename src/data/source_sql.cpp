// The view of each kind of source but CSV (csv_sql.cpp).
#include "base/spec.h"
#include "data/source_internal.h"

namespace slipway::data::duck {

namespace fs = std::filesystem;

std::string list_of(const std::vector<fs::path>& files) {
  std::vector<std::string> quoted;
  for (const auto& file : files) quoted.push_back(quote_text(file.string()));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

namespace {

// A time of the source's zone as one of UTC. A time that the clocks of the zone skip stands for no
// moment and is an error; of one that they show twice, the later is taken (ICU's rule).
std::string local_to_utc(const std::string& time, const std::string& zone) {
  return fmt::format(
      "(CASE WHEN timezone({1}, timezone({1}, {0})) <> {0} THEN CAST(error('the time ' || {0} || "
      "' does not exist in ' || {1} || ': the clocks skip it') AS TIMESTAMP) ELSE "
      "CAST(timezone({1}, {0}) AS TIMESTAMP) END)",
      time, quote_text(zone));
}

// A text that holds a time, with or without an offset.
std::string time_of_text(const std::string& name, const std::string& zone) {
  // Of UTC the plain cast is right, and takes a quarter of the time that time zones take.
  const auto with_offset = fmt::format(
      "CASE WHEN suffix({0}, 'Z') THEN CAST({0} AS TIMESTAMP) ELSE "
      "CAST(CAST({0} AS TIMESTAMP WITH TIME ZONE) AS TIMESTAMP) END",
      name);
  if (zone.empty()) return with_offset;
  return fmt::format(
      "CASE WHEN length({0}) > 10 AND regexp_matches({0}, '(Z|[+-]\\d\\d(:?\\d\\d)?)$') THEN {1} "
      "ELSE {2} END",
      name, with_offset, local_to_utc(fmt::format("CAST({} AS TIMESTAMP)", name), zone));
}

bool is_nested(duckdb_type type) {
  return type == DUCKDB_TYPE_STRUCT || type == DUCKDB_TYPE_LIST || type == DUCKDB_TYPE_MAP ||
         type == DUCKDB_TYPE_ARRAY || type == DUCKDB_TYPE_UNION;
}

bool is_local_time(duckdb_type type) {
  return type == DUCKDB_TYPE_TIMESTAMP || type == DUCKDB_TYPE_TIMESTAMP_S ||
         type == DUCKDB_TYPE_TIMESTAMP_MS || type == DUCKDB_TYPE_TIMESTAMP_NS;
}

// A column of a relation that has types of its own (Parquet, databases, ...).
Reading typed_reading(const Column& column, const Source& source) {
  const auto given = source.types.find(column.name);
  const Type type = given != source.types.end() ? given->second : column.target.type;
  const auto name = quote_name(column.name);
  std::string value = fmt::format("CAST({} AS {})", name, sql_type(type));
  if (type == Type::timestamp && column.target.type == Type::text) {
    value = time_of_text(name, source.time_zone);
  } else if (type == Type::timestamp && !source.time_zone.empty() && is_local_time(column.raw)) {
    value = local_to_utc(fmt::format("CAST({} AS TIMESTAMP)", name), source.time_zone);
  } else if (type == Type::text && is_nested(column.raw)) {
    value = fmt::format("CAST(to_json({}) AS VARCHAR)", name);
  }
  return {column.name, "", value + " AS " + name};
}

Result<std::string> typed_sql(duckdb_connection connection, const Source& source,
                              const std::string& from, const std::string& place,
                              const Partitions& partitions = {}) {
  auto found = columns_of(connection, from);
  if (!found) return found.error().at(place);
  std::vector<std::string> names;
  std::vector<Reading> reading;
  for (auto column : *found) {
    for (const auto& partition : partitions.columns) {
      if (partition.name == column.name) column.target.type = partition.target.type;
    }
    names.push_back(column.name);
    reading.push_back(typed_reading(column, source));
  }
  if (auto known = check_declared(source.types, names, place); !known) return known.error();
  return select_plain(reading, from);
}

Result<std::string> parquet_sql(duckdb_connection connection, const Source& source,
                                const std::vector<fs::path>& files) {
  const auto partitions = partitions_of(files);
  if (!partitions) return partitions.error();
  return typed_sql(connection, source,
                   fmt::format("read_parquet({}{})", list_of(files), hive_types(*partitions)),
                   files.front().string(), *partitions);
}

Result<std::string> json_sql(duckdb_connection connection, const Source& source,
                             const std::vector<fs::path>& files) {
  const auto partitions = partitions_of(files);
  if (!partitions) return partitions.error();
  const auto format = fmt::format("format = '{}'{}",
                                  source.kind == Source::Kind::jsonl ? "newline_delimited" : "auto",
                                  hive_types(*partitions));
  const auto list = list_of(files);
  const auto found = columns_of(
      connection, fmt::format("read_json({}, {}, sample_size = {}, union_by_name = true)", list,
                              format, kSampleRows));
  if (!found) return found.error();
  std::vector<std::string> names;
  std::vector<Reading> reading;
  std::vector<Reading> in_file;
  for (auto column : *found) {
    names.push_back(column.name);
    const auto partition =
        std::find_if(partitions->columns.begin(), partitions->columns.end(),
                     [&](const Column& each) { return each.name == column.name; });
    if (partition != partitions->columns.end()) {
      reading.push_back(reading_of(*partition, source));
      continue;
    }
    auto one = reading_of(column, source);
    if (is_nested(column.raw) && one.type == "VARCHAR") one.type = "JSON";
    in_file.push_back(one);
    reading.push_back(std::move(one));
  }
  if (auto known = check_declared(source.types, names, files.front().string()); !known)
    return known.error();
  return select_plain(
      reading, fmt::format("read_json({}, {}, columns = {})", list, format, struct_of(in_file)));
}

// read_xlsx takes one file; several follow each other.
Result<std::string> excel_sql(duckdb_connection connection, const Source& source,
                              const std::vector<fs::path>& files) {
  std::string body;
  for (const auto& file : files) {
    auto from = fmt::format("read_xlsx({}, header = {}", quote_text(file.string()),
                            source.csv.header ? "true" : "false");
    if (!source.table.empty()) from += ", sheet = " + quote_text(source.table);
    if (!source.range.empty()) from += ", range = " + quote_text(source.range);
    const auto one = typed_sql(connection, source, from + ")", file.string());
    if (!one) return one.error();
    body += (body.empty() ? "" : " UNION ALL ") + *one;
  }
  return body;
}

// key=value of the folders right above a file, outermost first.
std::vector<std::pair<std::string, std::string>> keys_of(const fs::path& file) {
  std::vector<std::pair<std::string, std::string>> keys;
  for (auto folder = file.parent_path(); !folder.filename().empty();
       folder = folder.parent_path()) {
    const auto text = folder.filename().string();
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0) break;
    keys.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  std::reverse(keys.begin(), keys.end());
  return keys;
}

bool is_whole_number(const std::string& text) {
  const auto digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || digits.size() > 18 || (digits.size() > 1 && digits.front() == '0'))
    return false;
  return std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Reading reading_of(const Column& found, const Source& source) {
  const auto given = source.types.find(found.name);
  const bool is_given = given != source.types.end();
  const auto name = quote_name(found.name);
  const Type type = is_given ? given->second : found.target.type;
  if (type == Type::timestamp && (is_given || found.raw == DUCKDB_TYPE_TIMESTAMP_TZ)) {
    return {found.name, "VARCHAR", time_of_text(name, source.time_zone) + " AS " + name};
  }
  if (type == Type::timestamp && !source.time_zone.empty() && is_local_time(found.raw)) {
    return {found.name, "TIMESTAMP", local_to_utc(name, source.time_zone) + " AS " + name};
  }
  const std::string read(found.raw == DUCKDB_TYPE_DATE && type == Type::timestamp ? "DATE"
                                                                                  : sql_type(type));
  return {found.name, read, fmt::format("CAST({0} AS {1}) AS {0}", name, sql_type(type))};
}

std::string select_plain(const std::vector<Reading>& columns, const std::string& from) {
  std::vector<std::string> parts;
  for (const auto& column : columns) parts.push_back(column.plain);
  return fmt::format("SELECT {} FROM {}", fmt::join(parts, ", "), from);
}

std::string struct_of(const std::vector<Reading>& columns) {
  std::vector<std::string> parts;
  for (const auto& column : columns) {
    parts.push_back(quote_text(column.name) + ": " + quote_text(column.type));
  }
  return fmt::format("{{{}}}", fmt::join(parts, ", "));
}

Result<void> check_declared(const std::map<std::string, Type>& declared,
                            const std::vector<std::string>& names, const std::string& place) {
  for (const auto& [column, type] : declared) {
    if (std::find(names.begin(), names.end(), column) != names.end()) continue;
    const auto near = nearest(column, names);
    return invalid_argument(fmt::format("{}: types declares column '{}', which is not there{}",
                                        place, column,
                                        near ? "; did you mean '" + *near + "'?" : ""));
  }
  return {};
}

Result<std::vector<Column>> columns_of(duckdb_connection connection, const std::string& from) {
  auto bound = bind_select(connection, "SELECT * FROM " + from, {});
  if (!bound) return bound.error();
  return std::move(bound->columns);
}

Result<Partitions> partitions_of(const std::vector<fs::path>& files) {
  const auto first = keys_of(files.front());
  Partitions partitions;
  for (std::size_t i = 0; i < first.size(); ++i) {
    bool numbers = true;
    bool times = true;
    for (const auto& file : files) {
      const auto keys = keys_of(file);
      if (keys.size() != first.size() || keys[i].first != first[i].first) {
        return invalid_argument(fmt::format(
            "'{}' is not partitioned as '{}' is: folders of one source have the same keys",
            file.string(), files.front().string()));
      }
      const auto& value = keys[i].second;
      if (value == "__HIVE_DEFAULT_PARTITION__") continue;  // null
      numbers = numbers && is_whole_number(value);
      times = times && parse_time(value);
    }
    const Type type = numbers ? Type::int64 : times ? Type::timestamp : Type::text;
    partitions.columns.push_back({first[i].first, {type, ""}, DUCKDB_TYPE_VARCHAR});
  }
  return partitions;
}

std::string hive_types(const Partitions& partitions) {
  if (partitions.columns.empty()) return ", hive_partitioning = false";
  return ", hive_partitioning = true, hive_types_autocast = false";
}

Result<std::string> source_sql(duckdb_connection connection, const Reached& reached) {
  const Source& source = reached.source;
  using Kind = Source::Kind;
  if (!reached.relation.empty())
    return typed_sql(connection, source, reached.relation, reached.shown);
  switch (source.kind) {
    case Kind::csv:
      return csv_sql(connection, source, reached.files);
    case Kind::parquet:
    case Kind::arrow:  // as Parquet by now
      return parquet_sql(connection, source, reached.files);
    case Kind::jsonl:
    case Kind::json:
    case Kind::kafka:  // as lines of JSON by now
      return json_sql(connection, source, reached.files);
    case Kind::excel:
      return excel_sql(connection, source, reached.files);
    case Kind::sqlite:
    case Kind::postgres:
    case Kind::mysql:
    case Kind::delta:
    case Kind::iceberg:
      break;  // have a relation
  }
  return internal("unknown kind of source");
}

}  // namespace slipway::data::duck
