#include "data/infer.h"

#include "base/clock.h"
#include "data/validation.h"

namespace slipway::data {

namespace {

constexpr std::size_t kMostMembers = 30;  // of a set that is written out
constexpr std::int64_t kSeenEach = 20;    // rows a member should have on average, else it is chance

// A text as a YAML scalar: plain where nothing can be misread, else as JSON, which YAML contains.
std::string scalar(std::string_view text) {
  static const std::set<std::string, std::less<>> kWords = {
      "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE",
      "yes",  "Yes",  "YES",  "no",   "No",   "NO",   "on",    "On",    "ON",
      "off",  "Off",  "OFF",  "y",    "Y",    "n",    "N"};
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const bool plain = !text.empty() && letter(text.front()) && !kWords.contains(text) &&
                     std::all_of(text.begin(), text.end(),
                                 [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
  return plain ? std::string(text)
               : Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string scalar_of(const Json& value) {
  return value.is_string() ? scalar(value.get_ref<const std::string&>()) : value.dump();
}

// The bound, moved away from the data by a tenth of the range and then to a short number.
double roomy(double end, double range, bool low) {
  const double room = range > 0 ? range * 0.1 : std::max(1.0, std::abs(end) * 0.1);
  const double step = std::pow(10.0, std::floor(std::log10(room)));
  return low ? std::floor((end - room) / step) * step : std::ceil((end + room) / step) * step;
}

std::string bound_text(double value, Type type) {
  if (type == Type::int64 && std::abs(value) < 9e15)
    return std::to_string(static_cast<std::int64_t>(value));
  return Json(value).dump();
}

// "[A-Z]{2,3}[0-9]{4}" when all texts are runs of the same kinds in the same order.
std::string shape_of(const std::vector<std::string>& texts) {
  struct Run {
    std::string kind;
    std::size_t least = 0, most = 0;
  };
  const auto kind_of = [](char c) -> std::string {
    if (c >= '0' && c <= '9') return "[0-9]";
    if (c >= 'A' && c <= 'Z') return "[A-Z]";
    if (c >= 'a' && c <= 'z') return "[a-z]";
    if ((static_cast<unsigned char>(c) & 0x80) != 0) return "";
    if (c == '_' || c == ' ' || c == ':' || c == '/' || c == '@' || c == '-')
      return std::string(1, c);
    return std::string("\\") + c;
  };
  std::vector<Run> shape;
  for (std::size_t t = 0; t < texts.size(); ++t) {
    std::vector<Run> runs;
    for (const char c : texts[t]) {
      const auto kind = kind_of(c);
      if (kind.empty() || runs.size() > 12) return "";
      if (runs.empty() || runs.back().kind != kind) runs.push_back({kind, 0, 0});
      runs.back().most = ++runs.back().least;
    }
    if (t == 0) shape = runs;
    if (runs.size() != shape.size() || runs.empty()) return "";
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (runs[i].kind != shape[i].kind) return "";
      shape[i].least = std::min(shape[i].least, runs[i].least);
      shape[i].most = std::max(shape[i].most, runs[i].most);
    }
  }
  std::string pattern;
  for (const auto& run : shape) {
    pattern += run.kind;
    if (run.most == run.least && run.most > 1) pattern += fmt::format("{{{}}}", run.most);
    if (run.most != run.least) pattern += fmt::format("{{{},{}}}", run.least, run.most);
  }
  return pattern;
}

struct Candidate {
  std::string rule;     // a mapping in flow style
  std::string comment;  // said above it
};

class RuleWriter {
 public:
  explicit RuleWriter(const Profile& profile) : profile_(profile) {}

  std::vector<Candidate> write() {
    write_table();
    for (const auto& column : profile_.columns) write_column(column);
    return std::move(rules_);
  }

 private:
  void add(std::string rule) { rules_.push_back({std::move(rule), std::exchange(comment_, "")}); }

  void write_table() {
    std::vector<std::string> types;
    std::vector<std::string> full;
    for (const auto& column : profile_.columns) {
      types.push_back(fmt::format("{}: {}", scalar(column.name), to_string(column.type)));
      if (column.nulls == 0 && column.rows > 0) full.push_back(scalar(column.name));
    }
    comment_ = "the columns and their types; extra: true lets others in";
    add(fmt::format("{{check: schema, types: {{{}}}, extra: false}}", fmt::join(types, ", ")));
    comment_ = "half to twice the rows that were there";
    add(fmt::format("{{check: row_count, min: {}, max: {}}}", profile_.rows / 2,
                    profile_.rows * 2));
    if (!full.empty())
      add(fmt::format("{{check: not_null, columns: [{}]}}", fmt::join(full, ", ")));
  }

  void write_column(const ColumnProfile& column) {
    const auto name = scalar(column.name);
    const auto present = column.rows - column.nulls;
    comment_ = column.name;
    for (const auto& note : column.notes) comment_ += "; " + note;
    if (column.nulls > 0) {
      const double most =
          std::min(1.0, std::ceil((column.null_share() * 1.25 + 0.005) * 1000) / 1000);
      add(fmt::format("{{check: null_share, column: {}, max: {}}}", name, Json(most).dump()));
    }
    if (present == 0) return;
    if ((column.type == Type::text || column.type == Type::int64) && present >= 100 &&
        static_cast<double>(column.distinct) >= 0.95 * static_cast<double>(present)) {
      add(fmt::format("{{check: unique, column: {}}}", name));
    }
    switch (column.type) {
      case Type::boolean:
        return;
      case Type::text:
        return write_text(column, name, present);
      case Type::timestamp:
        if (column.min) {
          const auto day = format_time(from_micros(static_cast<std::int64_t>(*column.min)));
          add(fmt::format("{{check: range, column: {}, min: \"{}T00:00:00Z\"}}", name,
                          day.substr(0, 10)));
        }
        return;
      case Type::int64:
      case Type::float64:
        return write_number(column, name, present);
    }
  }

  bool write_set(const ColumnProfile& column, const std::string& name, std::int64_t present,
                 std::size_t most) {
    if (!column.distinct_exact || column.distinct > static_cast<std::int64_t>(most) ||
        std::ssize(column.top) < column.distinct || column.distinct * kSeenEach > present)
      return false;
    std::vector<std::string> members;
    for (const auto& [value, unused] : column.top) members.push_back(scalar_of(value));
    std::sort(members.begin(), members.end());
    add(fmt::format("{{check: in_set, column: {}, values: [{}]}}", name, fmt::join(members, ", ")));
    return true;
  }

  void write_text(const ColumnProfile& column, const std::string& name, std::int64_t present) {
    if (write_set(column, name, present, kMostMembers)) return;
    add(fmt::format("{{check: length, column: {}, min: {}, max: {}}}", name,
                    column.shortest > 0 ? 1 : 0,
                    column.longest + std::max<std::int64_t>(2, column.longest / 4)));
    std::vector<std::string> texts;
    for (const auto& [value, unused] : column.top) {
      if (value.is_string()) texts.push_back(value.get<std::string>());
    }
    if (const auto shape = shape_of(texts); !shape.empty())
      add(fmt::format("{{check: matches, column: {}, pattern: {}}}", name, Json(shape).dump()));
  }

  void write_number(const ColumnProfile& column, const std::string& name, std::int64_t present) {
    if (column.type == Type::int64 && write_set(column, name, present, 10)) return;
    if (!column.min || !column.max || column.not_finite > 0) return;
    const double range = *column.max - *column.min;
    double low = roomy(*column.min, range, true);
    if (*column.min >= 0 && low < 0) low = 0;  // what is never negative, should not become so
    const double high = roomy(*column.max, range, false);
    add(fmt::format("{{check: range, column: {}, min: {}, max: {}}}", name,
                    bound_text(low, column.type), bound_text(high, column.type)));
  }

  const Profile& profile_;
  std::vector<Candidate> rules_;
  std::string comment_;
};

std::string document(const std::vector<Candidate>& rules) {
  std::string text =
      "# Rules that held on the data they were made from. Edit: tighten what is known, delete what "
      "is\n"
      "# chance. severity: warn lets a rule complain without failing; on_fail: quarantine sets bad "
      "rows\n"
      "# aside; learn: {last: 20} on a figure (mean, null_share, row_count …) learns its band "
      "from\n"
      "# earlier reports.\nexpectations:\n";
  for (const auto& rule : rules) {
    if (!rule.comment.empty()) {
      std::string comment = rule.comment;
      for (char& c : comment) {
        if (static_cast<unsigned char>(c) < 0x20) c = ' ';
      }
      text += "  # " + comment + "\n";
    }
    text += "  - " + rule.rule + "\n";
  }
  return text;
}

}  // namespace

Result<std::string> infer_rules(const Context& ctx, Engine& engine, const std::string& relation,
                                const Profile& profile) {
  auto candidates = RuleWriter(profile).write();
  const auto text = document(candidates);
  const auto parsed = SpecDocument::parse(text, "inferred rules");
  if (!parsed) return parsed.error();
  SpecReader reader(*parsed);
  const auto rules = read_expectations(reader, "expectations");
  if (auto sound = reader.finish(); !sound) return sound.error();
  const auto validation = validate(ctx, engine, relation, rules, {.examples = 0});
  if (!validation) return validation.error();
  std::vector<Candidate> kept;
  std::string orphan;  // the comment of a rule that goes
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    auto& rule = candidates[i];
    if (!orphan.empty() && rule.comment.empty()) rule.comment = orphan;
    orphan.clear();
    if (validation->report.rules[i].ok) {
      kept.push_back(std::move(rule));
    } else {
      orphan = rule.comment;
    }
  }
  return document(kept);
}

}  // namespace slipway::data
