// Profiles as JSON, as text, in words, and compared with new rows.
#include "base/clock.h"
#include "data/profile_internal.h"

namespace slipway::data {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_number(std::string_view text) {
  if (text.empty()) return false;
  if (text.front() == '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failed == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

// "2013-04-01…", "01/04/2013", "1.4.2013": a date, and perhaps a time, by its shape.
bool is_date(std::string_view text) {
  if (text.size() < 8 || text.size() > 35 || !is_digit(text.front())) return false;
  std::size_t at = 0;
  std::size_t widths[3] = {};
  char mark = 0;
  for (int part = 0; part < 3; ++part) {
    const auto begin = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    widths[part] = at - begin;
    if (widths[part] == 0) return false;
    if (part == 2) break;
    if (at == text.size() || (text[at] != '-' && text[at] != '/' && text[at] != '.')) return false;
    if (part == 1 && text[at] != mark) return false;
    mark = text[at++];
  }
  const bool year_first = widths[0] == 4 && widths[1] <= 2 && widths[2] <= 2;
  const bool year_last = widths[0] <= 2 && widths[1] <= 2 && widths[2] == 4;
  if (!year_first && !year_last) return false;
  return at == text.size() || text[at] == 'T' || text[at] == ' ';
}

// Texts that often stand for "nothing".
bool is_null_word(std::string_view text) {
  static const std::set<std::string, std::less<>> kWords = {
      "",     "NA",      "N/A",     "n/a", "na",  "null", "NULL", "Null", "None",
      "none", "unknown", "Unknown", "NaN", "nan", "-",    "?",    ".",    "#N/A"};
  return kWords.contains(text);
}

// A number made of nines, or minus one, that stands apart from the rest at the end of the range.
std::optional<double> sentinel(const ColumnProfile& profile) {
  constexpr double kSuspects[] = {-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999, 999999};
  if (!profile.min || profile.quantiles.empty()) return std::nullopt;
  const double low = profile.quantiles[1].second;   // 5 %
  const double high = profile.quantiles[5].second;  // 95 %
  const double spread = std::max(high - low, 1e-9);
  for (const double end : {*profile.min, *profile.max}) {
    if (std::find(std::begin(kSuspects), std::end(kSuspects), end) == std::end(kSuspects)) continue;
    if (end < low - 2 * spread || end > high + 2 * spread) return end;
  }
  return std::nullopt;
}

Error bad_profile(const std::string& what) {
  return invalid_argument("not a column profile: " + what);
}

std::string short_text(const Json& value) {
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  auto text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.size() > 24) text = text.substr(0, 21) + "...";
  return text;
}

std::string number_text(const ColumnProfile& column, const std::optional<double>& number) {
  if (!number) return "";
  if (column.type == Type::timestamp)
    return format_time(from_micros(static_cast<std::int64_t>(*number))).substr(0, 16);
  return fmt::format("{:.5g}", *number);
}

}  // namespace

void TextKinds::add(std::string_view text, std::int64_t count) {
  if (text.empty()) return;
  const char first = text.front();
  if (first == ' ' || text.back() == ' ') padded += count;
  if (!is_digit(first) && first != '-' && first != '+' && first != '.') return;  // most texts
  if (is_date(text)) {
    times += count;
  } else if (is_number(text)) {
    const auto digits = text.substr(first == '-' || first == '+' ? 1 : 0);
    if (std::all_of(digits.begin(), digits.end(), is_digit)) {
      integers += count;
      if (digits.size() > 1 && digits.front() == '0') leading_zeros += count;
    } else {
      reals += count;
    }
  }
}

void TextKinds::merge(const TextKinds& other) {
  integers += other.integers;
  reals += other.reals;
  times += other.times;
  leading_zeros += other.leading_zeros;
  padded += other.padded;
}

std::vector<std::string> remarks(const ColumnProfile& profile, const TextKinds& kinds,
                                 const std::vector<FrequentItems::Item>& items) {
  std::vector<std::string> notes;
  const std::int64_t present = profile.rows - profile.nulls;
  if (profile.rows == 0) return notes;
  if (present == 0) return {"every value is null"};
  if (profile.null_share() >= 0.5)
    notes.push_back(fmt::format("{:.0f} % of the values are null", profile.null_share() * 100));
  if (profile.distinct == 1 && profile.not_finite == 0)
    notes.emplace_back("constant: one value in all rows");
  if (profile.type == Type::text || profile.type == Type::int64) {
    const double unique = static_cast<double>(profile.distinct) / static_cast<double>(present);
    if (present >= 100 && unique > 0.95)
      notes.emplace_back("nearly every value is unique: an identifier, not a feature?");
  }
  if (profile.not_finite > 0)
    notes.push_back(fmt::format("{} values are not finite numbers", profile.not_finite));
  if (profile.type == Type::text) {
    std::vector<std::string> words;
    std::int64_t missing = 0;
    for (const auto& item : items) {
      if (!is_null_word(item.text)) continue;
      missing += item.count;
      words.push_back(fmt::format("'{}' ({} times)", item.text, item.count));
    }
    const auto share = [&](std::int64_t count) {
      return static_cast<double>(count) /
             static_cast<double>(std::max<std::int64_t>(1, present - missing));
    };
    const auto numbers = kinds.integers + kinds.reals;
    if (kinds.leading_zeros > 0 && share(numbers) > 0.9) {
      notes.push_back(fmt::format(
          "numbers with leading zeros ({} of them): a code, keep it as text", kinds.leading_zeros));
    } else if (share(numbers) > 0.9) {
      notes.emplace_back("numbers kept as text: declare the type");
    } else if (share(kinds.times) > 0.9) {
      notes.emplace_back("dates kept as text: declare the type timestamp");
    } else if (share(numbers) > 0.05) {
      notes.push_back(fmt::format("mixed: {:.0f} % of the texts are numbers, the others are not",
                                  share(numbers) * 100));
    } else if (share(kinds.times) > 0.05) {
      notes.push_back(fmt::format("mixed: {:.0f} % of the texts are dates, the others are not",
                                  share(kinds.times) * 100));
    }
    if (kinds.padded > 0)
      notes.push_back(fmt::format("{} texts begin or end with a space", kinds.padded));
    if (!words.empty()) {
      notes.push_back(fmt::format("{} may stand for a missing value: declare null_values",
                                  fmt::join(words, ", ")));
    }
  } else if (profile.type == Type::int64 || profile.type == Type::float64) {
    if (const auto value = sentinel(profile)) {
      notes.push_back(
          fmt::format("{:g} stands far from the other values: does it mean missing?", *value));
    }
  }
  return notes;
}

std::vector<std::string> Bins::labels() const {
  std::vector<std::string> labels = categories;
  if (categorical) {
    labels.emplace_back("other");
  } else if (edges.empty()) {
    labels.emplace_back("any");
  } else {
    labels.push_back(fmt::format("<= {:g}", edges.front()));
    for (std::size_t i = 1; i < edges.size(); ++i)
      labels.push_back(fmt::format("({:g}, {:g}]", edges[i - 1], edges[i]));
    labels.push_back(fmt::format("> {:g}", edges.back()));
  }
  labels.emplace_back("null");
  return labels;
}

Json ColumnProfile::to_json() const {
  Json json = {{"name", name},         {"type", to_string(type)},
               {"rows", rows},         {"nulls", nulls},
               {"distinct", distinct}, {"distinct_exact", distinct_exact},
               {"notes", notes},       {"bins", {{"counts", bins.counts}}}};
  auto& bin = json["bins"];
  if (bins.categorical) {
    bin["categories"] = bins.categories;
  } else {
    bin["edges"] = bins.edges;
  }
  json["top"] = Json::array();
  for (const auto& [value, count] : top) json["top"].push_back({value, count});
  if (top_error > 0) json["top_error"] = top_error;
  if (histogram)
    json["histogram"] = {
        {"low", histogram->low}, {"high", histogram->high}, {"counts", histogram->counts}};
  if (type == Type::text) {
    json["length"] = {{"min", shortest}, {"max", longest}, {"mean", mean_length}};
    return json;
  }
  json["not_finite"] = not_finite;
  json["zeros"] = zeros;
  if (min) json["min"] = *min;
  if (max) json["max"] = *max;
  if (mean) json["mean"] = *mean;
  if (stddev) json["stddev"] = *stddev;
  json["quantiles"] = Json::array();
  for (const auto& [p, value] : quantiles) json["quantiles"].push_back({p, value});
  return json;
}

Result<ColumnProfile> ColumnProfile::from_json(const Json& json) {
  try {
    ColumnProfile column;
    column.name = json.at("name").get<std::string>();
    const auto type = parse_type(json.at("type").get_ref<const std::string&>());
    if (!type) return type.error();
    column.type = *type;
    column.rows = json.at("rows").get<std::int64_t>();
    column.nulls = json.at("nulls").get<std::int64_t>();
    column.distinct = json.at("distinct").get<std::int64_t>();
    column.distinct_exact = json.at("distinct_exact").get<bool>();
    column.notes = json.at("notes").get<std::vector<std::string>>();
    for (const auto& item : json.at("top"))
      column.top.emplace_back(item.at(0), item.at(1).get<std::int64_t>());
    column.top_error = json.value("top_error", std::int64_t{0});
    const auto& bins = json.at("bins");
    column.bins.categorical = bins.contains("categories");
    if (column.bins.categorical)
      column.bins.categories = bins["categories"].get<std::vector<std::string>>();
    if (!column.bins.categorical) column.bins.edges = bins.at("edges").get<std::vector<double>>();
    column.bins.counts = bins.at("counts").get<std::vector<std::int64_t>>();
    if (column.bins.counts.size() != column.bins.bin_count()) {
      return bad_profile(fmt::format("column '{}' has {} counts for {} bins", column.name,
                                     column.bins.counts.size(), column.bins.bin_count()));
    }
    if (!std::is_sorted(column.bins.edges.begin(), column.bins.edges.end())) {
      return bad_profile("the edges of column '" + column.name + "' are not ascending");
    }
    if (column.type == Type::text) {
      const auto& length = json.at("length");
      column.shortest = length.at("min").get<std::int64_t>();
      column.longest = length.at("max").get<std::int64_t>();
      column.mean_length = length.at("mean").get<double>();
      return column;
    }
    if (json.contains("histogram")) {
      const auto& bars = json["histogram"];
      column.histogram = Histogram{bars.at("low").get<double>(), bars.at("high").get<double>(),
                                   bars.at("counts").get<std::vector<std::int64_t>>()};
    }
    column.not_finite = json.at("not_finite").get<std::int64_t>();
    column.zeros = json.at("zeros").get<std::int64_t>();
    const auto number = [&](const char* key) -> std::optional<double> {
      return json.contains(key) ? std::optional(json[key].get<double>()) : std::nullopt;
    };
    column.min = number("min");
    column.max = number("max");
    column.mean = number("mean");
    column.stddev = number("stddev");
    for (const auto& item : json.at("quantiles"))
      column.quantiles.emplace_back(item.at(0).get<double>(), item.at(1).get<double>());
    return column;
  } catch (const Json::exception& failure) {
    return bad_profile(failure.what());
  }
}

Json Profile::to_json() const {
  Json list = Json::array();
  for (const auto& column : columns) list.push_back(column.to_json());
  Json json = {{"format", "slipway profile 1"}, {"rows", rows}, {"columns", std::move(list)}};
  if (sampled == 0) return json;
  json["sampled"] = sampled;
  json["associations"] = Json::array();
  for (const auto& each : associations) {
    Json item = {{"a", each.a},
                 {"b", each.b},
                 {"measure", each.measure},
                 {"value", each.value},
                 {"rows", each.rows}};
    if (each.rank) item["rank"] = *each.rank;
    json["associations"].push_back(std::move(item));
  }
  return json;
}

Result<Profile> Profile::from_json(const Json& json) {
  if (!json.is_object() || json.value("format", "") != "slipway profile 1" ||
      !json.contains("rows") || !json["rows"].is_number_integer() || !json.contains("columns") ||
      !json["columns"].is_array()) {
    return invalid_argument("not a profile of format \"slipway profile 1\"");
  }
  Profile profile;
  profile.rows = json["rows"].get<std::int64_t>();
  for (const auto& item : json["columns"]) {
    auto column = ColumnProfile::from_json(item);
    if (!column) return column.error();
    profile.columns.push_back(std::move(*column));
  }
  try {
    profile.sampled = json.value("sampled", std::int64_t{0});
    for (const auto& item : json.value("associations", Json::array())) {
      Association each{item.at("a").get<std::string>(),
                       item.at("b").get<std::string>(),
                       item.at("measure").get<std::string>(),
                       item.at("value").get<double>(),
                       {},
                       item.at("rows").get<std::int64_t>()};
      if (item.contains("rank")) each.rank = item["rank"].get<double>();
      profile.associations.push_back(std::move(each));
    }
  } catch (const Json::exception& failure) {
    return bad_profile(failure.what());
  }
  return profile;
}

Result<std::vector<std::int64_t>> count_in_bins(const ColumnProfile& reference,
                                                const ColumnView& column) {
  const Bins& bins = reference.bins;
  const auto kind = [](Type type) {
    return type == Type::text ? 0 : type == Type::boolean ? 1 : 2;
  };
  if (kind(column.type) != kind(reference.type)) {
    return invalid_argument(fmt::format("column '{}' is {} in the reference, {} here",
                                        reference.name, to_string(reference.type),
                                        to_string(column.type)));
  }
  std::vector<std::int64_t> counts(bins.bin_count(), 0);
  const std::size_t null_bin = counts.size() - 1;
  if (bins.categorical) {
    std::unordered_map<std::string_view, std::size_t> places;
    for (std::size_t i = 0; i < bins.categories.size(); ++i) places.emplace(bins.categories[i], i);
    for (std::int64_t row = 0; row < column.rows; ++row) {
      if (column.is_null(row)) {
        ++counts[null_bin];
        continue;
      }
      const std::string_view text = column.type == Type::text ? column.text(row)
                                    : column.boolean(row)     ? "true"
                                                              : "false";
      const auto place = places.find(text);
      ++counts[place == places.end() ? null_bin - 1 : place->second];
    }
    return counts;
  }
  for (std::int64_t row = 0; row < column.rows; ++row) {
    const double value = column.number(row);
    if (std::isnan(value)) {
      ++counts[null_bin];
      continue;
    }
    const auto bin =
        std::lower_bound(bins.edges.begin(), bins.edges.end(), value) - bins.edges.begin();
    ++counts[static_cast<std::size_t>(bin)];
  }
  return counts;
}

namespace {

std::vector<double> shares_of(const std::vector<std::int64_t>& counts) {
  const auto total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  std::vector<double> shares(counts.size(), 0.0);
  for (std::size_t i = 0; total > 0 && i < counts.size(); ++i)
    shares[i] = static_cast<double>(counts[i]) / total;
  return shares;
}

}  // namespace

Result<std::vector<double>> share_in_bins(const ColumnProfile& reference,
                                          const ColumnView& column) {
  const auto counts = count_in_bins(reference, column);
  if (!counts) return counts.error();
  return shares_of(*counts);
}

std::vector<double> bin_shares(const ColumnProfile& reference) {
  return shares_of(reference.bins.counts);
}

std::string render_text(const Profile& profile) {
  std::vector<std::array<std::string, 8>> lines = {
      {"column", "type", "null", "distinct", "min", "mean", "max", "most frequent"}};
  for (const auto& column : profile.columns) {
    std::vector<std::string> frequent;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, column.top.size()); ++i)
      frequent.push_back(short_text(column.top[i].first));
    lines.push_back({column.name, std::string(to_string(column.type)),
                     fmt::format("{:.1f} %", column.null_share() * 100),
                     fmt::format("{}{}", column.distinct_exact ? "" : "~", column.distinct),
                     number_text(column, column.min), number_text(column, column.mean),
                     number_text(column, column.max),
                     fmt::format("{}", fmt::join(frequent, ", "))});
  }
  std::array<std::size_t, 8> widths{};
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text = fmt::format("{} rows, {} columns\n", profile.rows, profile.columns.size());
  for (const auto& line : lines) {
    std::string row = fmt::format("{:<{}}  {:<{}}", line[0], widths[0], line[1], widths[1]);
    for (std::size_t i = 2; i < 7; ++i) row += fmt::format("  {:>{}}", line[i], widths[i]);
    row += "  " + line[7];
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  for (const auto& column : profile.columns) {
    for (const auto& note : column.notes) text += fmt::format("{}: {}\n", column.name, note);
  }
  if (!profile.associations.empty())
    text += fmt::format("strongest associations, from {} rows:\n", profile.sampled);
  for (std::size_t i = 0; i < std::min<std::size_t>(10, profile.associations.size()); ++i) {
    const auto& each = profile.associations[i];
    text += fmt::format("  {:.3f}  {} and {} ({})\n", each.value, each.a, each.b, each.measure);
  }
  return text;
}

}  // namespace slipway::data
