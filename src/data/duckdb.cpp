#include "base/json.h"
#include "base/spec.h"
#include "data/duckdb_internal.h"

namespace slipway::data::duck {

namespace {

// The text between two marks, if both are there.
std::optional<std::string_view> between(std::string_view text, std::string_view begin,
                                        std::string_view end) {
  const auto from = text.find(begin);
  if (from == std::string_view::npos) return std::nullopt;
  text.remove_prefix(from + begin.size());
  const auto to = text.find(end);
  if (to == std::string_view::npos) return std::nullopt;
  return text.substr(0, to);
}

std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

std::string cut(std::string_view text, std::size_t limit = 120) {
  return text.size() <= limit ? std::string(text) : std::string(text.substr(0, limit)) + "...";
}

// "SQL, line 3, column 7: " or "flights.sql:3:7: ", with columns counted in characters.
std::string place_in(const SqlText& text, const Json& report) {
  if (text.sql.empty()) return "";
  const auto& file = text.origin.file;
  const auto somewhere = file.empty() ? std::string("SQL: ") : file + ": ";
  if (!text.origin.exact) return somewhere;
  const auto at = report.find("position");
  if (at == report.end() || !at->is_string()) return somewhere;
  const auto& digits = at->get_ref<const std::string&>();
  std::size_t position = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), position).ec != std::errc())
    return somewhere;
  if (position < text.begin || position - text.begin > text.sql.size()) return somewhere;
  position -= text.begin;
  const auto before = text.sql.substr(0, position);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const auto start = before.rfind('\n');
  const auto row = start == std::string_view::npos ? before : before.substr(start + 1);
  const auto column =
      std::count_if(row.begin(), row.end(), [](char c) { return (c & 0xC0) != 0x80; }) + 1;
  if (!file.empty()) {
    return fmt::format("{}:{}:{}: ", file, line + text.origin.line - 1,
                       column + text.origin.indent);
  }
  return fmt::format("SQL, line {}, column {}: ", line, column);
}

std::string text_of(const Json& report, const char* key) {
  const auto found = report.find(key);
  return found != report.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The first of DuckDB's candidates, comma-separated, which are sorted by likeness.
std::string did_you_mean(const Json& report) {
  const auto candidates = text_of(report, "candidates");
  if (candidates.empty()) return "";
  return "; did you mean '" + candidates.substr(0, candidates.find(',')) + "'?";
}

std::string_view plain_name(std::string_view duckdb_type) {
  if (duckdb_type == "BIGINT") return "an int64";
  if (duckdb_type == "DOUBLE") return "a float64";
  if (duckdb_type == "BOOLEAN") return "a boolean";
  if (duckdb_type.starts_with("TIMESTAMP")) return "a timestamp";
  return "";
}

// A line of a CSV file that does not fit: DuckDB names file, line and column in prose.
std::optional<Error> csv_error(std::string_view message) {
  const auto line = between(message, "CSV Error on Line: ", "\n");
  if (!line) return std::nullopt;
  const auto file = between(message, "  file = ", "\n");
  const auto original = between(message, "Original Line: ", "\n");
  const std::string place = fmt::format("{}:{}", file.value_or("CSV"), *line);
  if (const auto expected = between(message, "Expected Number of Columns: ", " Found: ")) {
    const auto found = between(message, " Found: ", "\n");
    return invalid_argument(fmt::format("{}: the line has {} fields where the header has {}: {}",
                                        place, found.value_or("?"), *expected,
                                        cut(original.value_or(""))));
  }
  if (const auto column = between(message, "Error when converting column \"", "\"")) {
    const auto value = between(message, "Could not convert string \"", "\" to '");
    const auto type = between(message, "\" to '", "'");
    const auto wanted = type ? plain_name(*type) : std::string_view();
    return invalid_argument(
        fmt::format("{}: column '{}' holds '{}', which is not {}; if it stands for a missing "
                    "value, add it to null_values, else declare "
                    "the column's type (types: {{{}: text}})",
                    place, *column, cut(value.value_or("?")),
                    wanted.empty() ? type.value_or("of its type") : wanted, *column));
  }
  // what is wrong stands after the line itself, which may end in a line break of its own
  auto rest = message.substr(message.find("Original Line: ") == std::string_view::npos
                                 ? message.find(*line) + line->size()
                                 : message.find('\n', message.find("Original Line: ")));
  rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of('\n')));
  return invalid_argument(
      fmt::format("{}: {}: {}", place, first_line(rest), cut(original.value_or(""))));
}

std::optional<Error> json_error(std::string_view message) {
  if (const auto bad = between(message, "JSON transform error in file \"", "\"")) {
    const auto line = between(message, "\", in line ", ":");
    const auto what = line ? message.substr(message.find(*line) + line->size() + 2) : message;
    return invalid_argument(fmt::format("{}:{}: a value is not of its column's type: {}", *bad,
                                        line.value_or("?"), first_line(what)));
  }
  const auto file = between(message, "alformed JSON in file \"", "\"");
  if (!file) return std::nullopt;
  const auto line = between(message, " in line ", ":");
  const auto what = line ? message.substr(message.find(*line) + line->size() + 2) : message;
  return invalid_argument(fmt::format("{}:{}: not a JSON object on one line: {}", *file,
                                      line.value_or("?"), first_line(what)));
}

std::optional<BadTime> find_bad_time(std::string_view message) {
  const auto value = between(message, "invalid timestamp field format: \"", "\", expected");
  if (!value) return std::nullopt;
  constexpr std::string_view kSource = "source column ";
  const auto at = message.find(kSource);
  return BadTime{
      at == std::string_view::npos ? "" : first_line(message.substr(at + kSource.size())),
      std::string(*value)};
}

Error of_kind(const std::string& kind, const std::string& place, const std::string& message,
              const Json& report) {
  const auto subtype = text_of(report, "error_subtype");
  const auto name = text_of(report, "name");
  const auto detail = first_line(message);
  // A database that goes away in the middle of a query: worth another try.
  for (const std::string_view gone : {"closed the connection", "connection to server",
                                      "Lost connection", "terminating connection"}) {
    if (message.find(gone) != std::string::npos)
      return unavailable(place + "the database went away: " + detail);
  }
  if (kind == "Interrupt") return cancelled("the query was interrupted");
  if (kind == "Out of Memory") {
    return resource_exhausted(
        "the query needs more memory than its limit, also with spilling; raise memory_limit_mb or "
        "select fewer rows or columns: " +
        detail);
  }
  if (kind == "Permission") return permission_denied(detail);
  if (kind == "HTTP") {
    const auto says = [&](std::string_view status) {
      return message.find(fmt::format("HTTP {}", status)) != std::string::npos;
    };
    if (says("404")) return not_found(detail);
    if (says("401") || says("403")) {
      return permission_denied(detail + "; look at the source's credentials");
    }
    return unavailable(detail);
  }
  if (kind == "IO") {
    if (message.find("No space left") != std::string::npos) return storage_full(detail);
    if (message.find("No files found") != std::string::npos ||
        message.find("No such file") != std::string::npos) {
      return not_found(detail);
    }
    return unavailable(detail);
  }
  if (subtype == "COLUMN_NOT_FOUND") {
    return invalid_argument(
        fmt::format("{}column '{}' does not exist{}", place, name, did_you_mean(report)));
  }
  if (subtype == "MISSING_ENTRY") {
    auto what = text_of(report, "type");
    what = what == "Table"                              ? "relation"
           : what.find("Function") != std::string::npos ? "function"
                                                        : "entry";
    return invalid_argument(
        fmt::format("{}{} '{}' does not exist{}", place, what, name, did_you_mean(report)));
  }
  if (subtype == "NO_MATCHING_FUNCTION") {
    return invalid_argument(
        fmt::format("{}no form of '{}' takes these types: {}; cast the arguments", place, name,
                    text_of(report, "call")));
  }
  static const std::set<std::string> kOurs = {"INTERNAL", "Internal",      "FATAL",
                                              "Fatal",    "Serialization", "Scheduler"};
  if (kOurs.contains(kind)) return internal("the SQL engine failed: " + detail);
  if (const auto bad = find_bad_time(message)) {
    return invalid_argument(place + not_a_time(*bad));
  }
  constexpr std::string_view kNoColumn = "\" does not have a column named \"";
  if (const auto at = detail.find(kNoColumn); at != std::string::npos) {
    const auto relation = detail.substr(detail.rfind('"', at - 1) + 1);
    const auto column = between(detail, kNoColumn, "\"");
    const auto candidate = between(std::string_view(message).substr(detail.size()), "\"", "\"");
    return invalid_argument(fmt::format(
        "{}'{}' has no column '{}'{}", place, relation.substr(0, relation.find('"')),
        column.value_or("?"), candidate ? fmt::format("; did you mean '{}'?", *candidate) : ""));
  }
  return invalid_argument(place + detail);
}

}  // namespace

std::string not_a_time(const BadTime& bad) {
  return fmt::format("{} holds '{}', which is not a time such as 2013-04-01T05:00:00Z",
                     bad.column.empty() ? "a value" : "column '" + bad.column + "'",
                     cut(bad.value));
}

namespace {

// The report as an object with exception_type and exception_message.
Json parse_report(std::string_view report) {
  const auto brace = report.find('{');
  Json json =
      brace == std::string_view::npos ? Json() : Json::parse(report.substr(brace), nullptr, false);
  if (!json.is_object()) {  // a report that is not JSON: "Kind Error: message"
    const auto colon = report.find(" Error: ");
    json = Json::object();
    json["exception_type"] =
        std::string(report.substr(0, colon == std::string_view::npos ? 0 : colon));
    json["exception_message"] =
        std::string(colon == std::string_view::npos ? report : report.substr(colon + 8));
  }
  return json;
}

}  // namespace

std::optional<BadTime> bad_time(std::string_view report) {
  return find_bad_time(text_of(parse_report(report), "exception_message"));
}

Error translate(std::string_view report, const SqlText& text) {
  const Json json = parse_report(report);
  const auto message = text_of(json, "exception_message");
  if (auto error = csv_error(message)) return *error;
  if (auto error = json_error(message)) return *error;
  return of_kind(text_of(json, "exception_type"), place_in(text, json), message, json);
}

Target target_of(duckdb_type type) {
  switch (type) {
    case DUCKDB_TYPE_BOOLEAN:
      return {Type::boolean, ""};
    case DUCKDB_TYPE_BIGINT:
      return {Type::int64, ""};
    case DUCKDB_TYPE_TINYINT:
    case DUCKDB_TYPE_SMALLINT:
    case DUCKDB_TYPE_INTEGER:
    case DUCKDB_TYPE_UTINYINT:
    case DUCKDB_TYPE_USMALLINT:
    case DUCKDB_TYPE_UINTEGER:
    case DUCKDB_TYPE_UBIGINT:
    case DUCKDB_TYPE_HUGEINT:
    case DUCKDB_TYPE_UHUGEINT:
    case DUCKDB_TYPE_INTEGER_LITERAL:
      return {Type::int64, "BIGINT"};
    case DUCKDB_TYPE_DOUBLE:
      return {Type::float64, ""};
    case DUCKDB_TYPE_FLOAT:
    case DUCKDB_TYPE_DECIMAL:
      return {Type::float64, "DOUBLE"};
    case DUCKDB_TYPE_TIMESTAMP:
      return {Type::timestamp, ""};
    case DUCKDB_TYPE_DATE:
    case DUCKDB_TYPE_TIMESTAMP_S:
    case DUCKDB_TYPE_TIMESTAMP_MS:
    case DUCKDB_TYPE_TIMESTAMP_NS:
    case DUCKDB_TYPE_TIMESTAMP_TZ:
      return {Type::timestamp, "TIMESTAMP"};
    case DUCKDB_TYPE_VARCHAR:
    default:
      return {Type::text, "VARCHAR"};  // also of VARCHAR: JSON is one by name
  }
}

std::string_view sql_type(Type type) {
  switch (type) {
    case Type::boolean:
      return "BOOLEAN";
    case Type::int64:
      return "BIGINT";
    case Type::float64:
      return "DOUBLE";
    case Type::text:
      return "VARCHAR";
    case Type::timestamp:
      return "TIMESTAMP";
  }
  return "VARCHAR";
}

struct Watch::Impl {
  std::mutex mutex;
  std::condition_variable done_changed;
  bool done = false;
  std::thread thread;
};

Watch::Watch(const Context& ctx, duckdb_connection connection) {
  if (!ctx.stop.stop_possible() && !ctx.deadline) return;
  impl_ = std::make_unique<Impl>();
  impl_->thread = std::thread([impl = impl_.get(), &ctx, connection] {
    std::unique_lock lock(impl->mutex);
    // Again and again: an interrupt that comes before the query has begun is forgotten by DuckDB.
    while (!impl->done_changed.wait_for(lock, std::chrono::milliseconds(10),
                                        [impl] { return impl->done; })) {
      if (!ctx.check()) duckdb_interrupt(connection);
    }
  });
}

Watch::~Watch() {
  if (!impl_) return;
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->done = true;
  }
  impl_->done_changed.notify_all();
  impl_->thread.join();
}

}  // namespace slipway::data::duck
