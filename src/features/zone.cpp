// Zone files: RFC 8536 (TZif), whose footer is a rule in POSIX's form for the years after the last
// change listed.
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>

#include "base/spec.h"
#include "features/calendar_internal.h"
#include "features/zone_internal.h"

namespace slipway::features {
namespace {

constexpr const char* kZoneFolder = "/usr/share/zoneinfo/";
constexpr std::int64_t kLastYear = 2100;  // rules are written out until then
constexpr std::int32_t kMostOffset = 26 * 3600;
constexpr std::size_t kMostChanges = 10'000;

std::optional<std::int32_t> parse_fixed(std::string_view text) {
  if (text == "UTC" || text == "Z") return 0;
  if (text.size() < 3 || (text[0] != '+' && text[0] != '-')) return std::nullopt;
  const int sign = text[0] == '-' ? -1 : 1;
  std::string digits;
  for (const char c : text.substr(1)) {
    if (c != ':') digits += c;
  }
  if (digits.size() != 4 || digits.find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;
  }
  const int hours = std::stoi(digits.substr(0, 2));
  const int minutes = std::stoi(digits.substr(2));
  if (hours > 14 || minutes > 59) return std::nullopt;
  return sign * (hours * 60 + minutes) * 60;
}

bool is_zone_name(const std::string& name) {
  return !name.empty() && name.size() < 64 && name.front() != '/' &&
         name.find("..") == std::string::npos &&
         name.find_first_not_of(
             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") ==
             std::string::npos;
}

// Big-endian numbers of a file, with a check before each read.
class ZoneReader {
 public:
  explicit ZoneReader(std::string_view bytes) : bytes_(bytes) {}
  bool skip(std::size_t count) {
    if (bytes_.size() - at_ < count) return false;
    at_ += count;
    return true;
  }
  std::optional<std::int64_t> read(std::size_t size) {
    if (bytes_.size() - at_ < size) return std::nullopt;
    std::uint64_t value = static_cast<signed char>(bytes_[at_]) < 0 ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < size; ++i)
      value = value << 8 | static_cast<unsigned char>(bytes_[at_++]);
    return static_cast<std::int64_t>(value);
  }
  std::string_view rest() const { return bytes_.substr(at_); }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

struct Counts {
  std::size_t ut = 0;
  std::size_t std = 0;
  std::size_t leap = 0;
  std::size_t changes = 0;
  std::size_t kinds = 0;
  std::size_t letters = 0;
  std::size_t body(std::size_t time_size) const {
    return changes * (time_size + 1) + kinds * 6 + letters + leap * (time_size + 4) + std + ut;
  }
};

std::optional<Counts> read_header(ZoneReader& in, std::string_view bytes) {
  if (!bytes.starts_with("TZif") || !in.skip(20)) return std::nullopt;
  Counts counts;
  for (std::size_t* count :
       {&counts.ut, &counts.std, &counts.leap, &counts.changes, &counts.kinds, &counts.letters}) {
    const auto value = in.read(4);
    if (!value || *value < 0 || *value > static_cast<std::int64_t>(kMostChanges))
      return std::nullopt;
    *count = static_cast<std::size_t>(*value);
  }
  return counts;
}

// "EST5EDT,M3.2.0,M11.1.0": a rule for every year from some point on.
struct YearlyRule {
  struct Change {
    int month = 0;
    int week = 0;              // 5: the last
    int day = 0;               // 0 Sunday
    std::int32_t time = 7200;  // seconds after midnight on the clocks before the change
  };
  std::int32_t standard = 0;  // seconds east of UTC
  std::optional<std::int32_t> summer;
  Change to_summer;
  Change to_standard;
};

class RuleReader {
 public:
  explicit RuleReader(std::string_view text) : text_(text) {}
  std::optional<YearlyRule> read() {
    YearlyRule rule;
    if (!abbreviation()) return std::nullopt;
    const auto standard = time();
    if (!standard) return std::nullopt;
    rule.standard = -*standard;
    if (text_.empty()) return rule;
    if (!abbreviation()) return std::nullopt;
    rule.summer = rule.standard + 3600;
    if (!text_.empty() && text_[0] != ',') {
      const auto summer = time();
      if (!summer) return std::nullopt;
      rule.summer = -*summer;
    }
    if (!change(rule.to_summer) || !change(rule.to_standard) || !text_.empty()) return std::nullopt;
    return rule;
  }

 private:
  bool take(char c) {
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::optional<int> integer() {
    int value = 0;
    const auto [stop, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc{} || value < 0 || value > 1000) return std::nullopt;
    text_.remove_prefix(static_cast<std::size_t>(stop - text_.data()));
    return value;
  }
  bool abbreviation() {
    if (take('<')) {
      const std::size_t end = text_.find('>');
      if (end == std::string_view::npos) return false;
      text_.remove_prefix(end + 1);
      return true;
    }
    std::size_t letters = 0;
    while (letters < text_.size() && ((text_[letters] >= 'A' && text_[letters] <= 'Z') ||
                                      (text_[letters] >= 'a' && text_[letters] <= 'z')))
      ++letters;
    text_.remove_prefix(letters);
    return letters >= 3;
  }
  std::optional<std::int32_t> time() {
    const int sign = take('-') ? -1 : 1;
    if (sign > 0) take('+');
    std::int32_t seconds = 0;
    for (const std::int32_t unit : {3600, 60, 1}) {
      const auto value = integer();
      if (!value) return std::nullopt;
      seconds += *value * unit;
      if (!take(':')) break;
    }
    return sign * seconds;
  }
  bool change(YearlyRule::Change& out) {
    if (!take(',') || !take('M')) return false;
    const auto month = integer();
    if (!month || !take('.')) return false;
    const auto week = integer();
    if (!week || !take('.')) return false;
    const auto day = integer();
    if (!day || *month < 1 || *month > 12 || *week < 1 || *week > 5 || *day > 6) return false;
    out = {*month, *week, *day, 7200};
    if (take('/')) {
      const auto at = time();
      if (!at) return false;
      out.time = *at;
    }
    return true;
  }
  std::string_view text_;
};

std::int64_t days_from_civil(std::int64_t year, int month, int day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = floor_div(year, 400);
  const std::int64_t of_era = year - era * 400;
  const std::int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146'097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719'468;
}

// Seconds since 1970 when the clocks, `offset` ahead of UTC until then, are changed in this year.
std::int64_t moment_of(const YearlyRule::Change& change, std::int64_t year, std::int32_t offset) {
  const std::int64_t first = days_from_civil(year, change.month, 1);
  const int weekday = static_cast<int>(((first + 4) % 7 + 7) % 7);  // 0 Sunday
  std::int64_t day = first + (change.day - weekday + 7) % 7 + 7LL * (change.week - 1);
  const std::int64_t next_month = change.month == 12 ? days_from_civil(year + 1, 1, 1)
                                                     : days_from_civil(year, change.month + 1, 1);
  while (day >= next_month) day -= 7;
  return day * 86'400 + change.time - offset;
}

void write_out(const YearlyRule& rule, std::vector<std::int64_t>& begins,
               std::vector<std::int32_t>& offsets) {
  if (!rule.summer) return;
  const std::int64_t from = begins.empty() ? 1970 : calendar_of(begins.back() * 1'000'000, 0).year;
  for (std::int64_t year = from; year <= kLastYear; ++year) {
    std::array<std::pair<std::int64_t, std::int32_t>, 2> changes = {
        std::pair{moment_of(rule.to_summer, year, rule.standard), *rule.summer},
        std::pair{moment_of(rule.to_standard, year, *rule.summer), rule.standard}};
    std::sort(changes.begin(), changes.end());
    for (const auto& [moment, offset] : changes) {
      if (!begins.empty() && moment <= begins.back()) continue;
      begins.push_back(moment);
      offsets.push_back(offset);
    }
  }
}

}  // namespace

Zone Zone::fixed(const std::string& name, std::int32_t offset_seconds) {
  Zone zone;
  zone.name_ = name;
  zone.before_ = offset_seconds;
  return zone;
}

Result<Zone> Zone::find(const std::string& name) {
  if (const auto offset = parse_fixed(name)) return fixed(name, *offset);
  const auto unknown = [&] {
    return invalid_argument("'" + name +
                            "' is no zone known here: UTC, a fixed offset such as \"-05:00\", or "
                            "a name such as America/New_York");
  };
  if (!is_zone_name(name)) return unknown();
  std::ifstream file(kZoneFolder + name, std::ios::binary);
  if (!file) return unknown();
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto broken = [&] { return data_loss("the zone file of '" + name + "' cannot be read"); };
  ZoneReader in(bytes);
  const auto old = read_header(in, bytes);
  if (!old || bytes[4] < '2' || !in.skip(old->body(4))) return broken();
  const auto counts = read_header(in, in.rest());
  if (!counts || counts->kinds == 0) return broken();
  Zone zone;
  zone.name_ = name;
  std::vector<std::size_t> kinds;
  for (std::size_t i = 0; i < counts->changes; ++i) {
    const auto begin = in.read(8);
    if (!begin || (!zone.begins_.empty() && *begin <= zone.begins_.back())) return broken();
    zone.begins_.push_back(*begin);
  }
  for (std::size_t i = 0; i < counts->changes; ++i) {
    const auto kind = in.read(1);
    if (!kind || *kind < 0 || *kind >= static_cast<std::int64_t>(counts->kinds)) return broken();
    kinds.push_back(static_cast<std::size_t>(*kind));
  }
  std::vector<std::int32_t> offset_of;
  for (std::size_t i = 0; i < counts->kinds; ++i) {
    const auto offset = in.read(4);
    if (!offset || std::abs(*offset) > kMostOffset || !in.skip(2)) return broken();
    offset_of.push_back(static_cast<std::int32_t>(*offset));
  }
  if (!in.skip(counts->letters + counts->leap * 12 + counts->std + counts->ut)) return broken();
  zone.before_ = offset_of[0];
  for (const std::size_t kind : kinds) zone.offsets_.push_back(offset_of[kind]);
  std::string_view footer = in.rest();
  if (footer.size() >= 2 && footer.front() == '\n') {
    footer.remove_prefix(1);
    footer = footer.substr(0, footer.find('\n'));
    if (const auto rule = RuleReader(footer).read()) write_out(*rule, zone.begins_, zone.offsets_);
  }
  return zone;
}

Json Zone::to_json() const {
  return {{"name", name_}, {"before", before_}, {"begins", begins_}, {"offsets", offsets_}};
}

Result<Zone> Zone::from_json(const Json& json) {
  Zone zone;
  zone.name_ = json.at("name").get<std::string>();
  zone.before_ = json.at("before").get<std::int32_t>();
  zone.begins_ = json.at("begins").get<std::vector<std::int64_t>>();
  zone.offsets_ = json.at("offsets").get<std::vector<std::int32_t>>();
  const auto beyond = [](std::int32_t offset) {
    return offset > kMostOffset || offset < -kMostOffset;
  };
  if (zone.begins_.size() != zone.offsets_.size() || zone.begins_.size() > kMostChanges ||
      beyond(zone.before_) || std::any_of(zone.offsets_.begin(), zone.offsets_.end(), beyond) ||
      std::adjacent_find(zone.begins_.begin(), zone.begins_.end(), std::greater_equal<>()) !=
          zone.begins_.end()) {
    return invalid_argument(
        "the zone '" + zone.name_ +
        "' is not one: its changes do not ascend, or a clock is more than a day off");
  }
  return zone;
}

}  // namespace slipway::features
