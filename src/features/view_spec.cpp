#include <set>

#include "base/hash.h"
#include "data/knowledge.h"
#include "data/point_in_time.h"
#include "features/view.h"

namespace slipway::features {
namespace {

using Stat = ViewValue::Stat;

constexpr std::pair<Stat, std::string_view> kStats[] = {
    {Stat::lag, "lag"},   {Stat::count, "count"},  {Stat::sum, "sum"},      {Stat::mean, "mean"},
    {Stat::least, "min"}, {Stat::greatest, "max"}, {Stat::deviation, "std"}};

constexpr std::int64_t kMostLag = 10'000;

std::string_view stat_name(Stat stat) {
  for (const auto& [value, name] : kStats) {
    if (value == stat) return name;
  }
  return "lag";
}

ViewValue read_value(const std::string& name, SpecReader& reader) {
  ViewValue value;
  value.name = name;
  value.of = reader.text("of", "");
  std::vector<std::string> names;
  for (const auto& [stat, word] : kStats) names.emplace_back(word);
  const std::string word = reader.one_of("stat", names, "lag");
  for (const auto& [stat, each] : kStats) {
    if (each == word) value.stat = stat;
  }
  value.lag = reader.integer("lag", 1);
  if (reader.has("within")) value.within = reader.duration("within", Duration{0});
  if (reader.has("rows")) value.rows = reader.integer("rows", 1);
  if (value.lag < 1 || value.lag > kMostLag) reader.problem("lag", "needs 1 (the newest) to 10000");
  if (value.rows && (*value.rows < 1 || *value.rows > kMostLag))
    reader.problem("rows", "needs 1 to 10000 events");
  if (value.within && value.within->count() <= 0)
    reader.problem("within", "needs a time such as 3h");
  if (value.of.empty() && value.stat != Stat::count)
    reader.problem("", "a value needs the column it is `of`; only a count can do without");
  if (value.stat != Stat::lag && reader.has("lag"))
    reader.problem("lag", "a lag is one event; a " + word + " has a window, `within` or `rows`");
  if (value.stat == Stat::lag && (value.within || value.rows))
    reader.problem("", "a window needs a stat: mean, sum, count, min, max or std");
  if (value.stat != Stat::lag && value.within.has_value() == value.rows.has_value())
    reader.problem("",
                   "a " + word + " needs its window: either within (a time) or rows (a number)");
  return value;
}

}  // namespace

ViewSpec ViewSpec::read(SpecReader& reader) {
  ViewSpec spec;
  spec.name = reader.text("name");
  if (spec.name.empty() ||
      spec.name.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") !=
          std::string::npos) {
    reader.problem("name", "a view's name is letters, digits, '_' and '-'");
  }
  spec.dataset = reader.text("dataset");
  if (const auto at = spec.dataset.find('@'); at != std::string::npos) {
    spec.version = spec.dataset;
    spec.dataset.resize(at);
  }
  spec.keys = data::read_join_keys(reader, "by");
  spec.at = reader.text("at");
  spec.event = reader.text("event");
  // There is no default: "known at once" is a claim somebody has to make.
  const std::string known = reader.text("known");
  if (const auto offset = data::parse_offset(known)) {
    spec.known_after = *offset;
    if (offset->count() < 0) reader.problem("known", "an event cannot be known before it happens");
  } else {
    spec.known_column = known;
  }
  if (reader.has("ttl")) spec.ttl = reader.duration("ttl", Duration{0});
  for (auto& [name, value] : reader.entries("values")) {
    spec.values.push_back(read_value(name, value));
    value.close();
  }
  if (spec.values.empty()) reader.problem("values", "names what is looked up, one value at least");
  return spec;
}

std::vector<ViewSpec> ViewSpec::read_list(SpecReader& reader, std::string_view key) {
  std::vector<ViewSpec> views;
  std::set<std::string> names;
  for (SpecReader& entry : reader.list(key)) {
    views.push_back(read(entry));
    if (!names.insert(views.back().name).second)
      entry.problem("name", "two views are called '" + views.back().name + "'");
    entry.close();
  }
  return views;
}

Json ViewSpec::to_json() const {
  Json by = Json::object();
  for (const auto& [mine, theirs] : keys) by[mine] = theirs;
  const auto micros = [](Duration duration) { return std::to_string(duration.count()) + "us"; };
  Json json = {{"name", name}, {"dataset", dataset}, {"by", by}, {"at", at}, {"event", event}};
  json["known"] = known_column.empty() ? micros(known_after) : known_column;
  if (ttl) json["ttl"] = micros(*ttl);
  for (const ViewValue& value : values) {
    Json& out = json["values"][value.name] = {{"stat", stat_name(value.stat)}};
    if (!value.of.empty()) out["of"] = value.of;
    if (value.stat == Stat::lag) out["lag"] = value.lag;
    if (value.within) out["within"] = micros(*value.within);
    if (value.rows) out["rows"] = *value.rows;
  }
  return json;
}

Result<ViewSpec> ViewSpec::from_json(const Json& json) {
  const SpecDocument document = SpecDocument::from_json(json, "view");
  SpecReader reader(document);
  ViewSpec spec = read(reader);
  if (const auto sound = reader.finish(); !sound) return sound.error();
  return spec;
}

std::vector<std::string> ViewSpec::outputs() const {
  std::vector<std::string> names;
  for (const ViewValue& value : values) names.push_back(name + "." + value.name);
  return names;
}

std::string ViewSpec::digest() const { return sha256_hex(canonical(to_json())); }

std::vector<std::string> ViewSpec::reads() const {
  std::set<std::string> columns = {event};
  if (!known_column.empty()) columns.insert(known_column);
  for (const auto& [mine, theirs] : keys) columns.insert(theirs);
  for (const ViewValue& value : values) {
    if (!value.of.empty()) columns.insert(value.of);
  }
  return {columns.begin(), columns.end()};
}

}  // namespace slipway::features
