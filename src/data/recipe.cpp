#include "data/recipe.h"

#include "data/duckdb_internal.h"
#include "data/point_in_time.h"

namespace slipway::data {

// One step. `reads` the relation before it, whose columns are known.
class RecipeStep {
 public:
  virtual ~RecipeStep() = default;
  virtual Result<std::string> sql(Engine& engine, const std::string& from,
                                  const Schema& schema) const = 0;
  virtual Result<void> check(const Context& /*ctx*/, Engine& /*engine*/,
                             const std::string& /*from*/) const {
    return {};
  }
  std::string place;  // in the file
};

namespace {

using Names = std::vector<std::string>;

std::string quoted_list(const Names& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + quote_name(name);
  return text;
}

Result<void> need_columns(const Schema& schema, const Names& names) {
  for (const auto& name : names) {
    if (const auto found = schema.find(name); !found) return found.error();
  }
  return {};
}

std::vector<std::pair<std::string, std::string>> text_entries(const Json& value) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& [name, text] : value.items())
    entries.emplace_back(name, text.is_string() ? text.get<std::string>() : text.dump());
  return entries;
}

// SELECT of all columns, each as `expression` says; nothing: left out.
template <class Expression>
std::string project(const Schema& schema, const std::string& from, const Expression& expression) {
  std::string columns;
  for (const auto& field : schema.fields) {
    const std::string text = expression(field);
    if (!text.empty()) columns += (columns.empty() ? "" : ", ") + text;
  }
  return fmt::format("SELECT {} FROM {}", columns, quote_name(from));
}

class Rename final : public RecipeStep {
 public:
  explicit Rename(const Json& value) : names_(text_entries(value)) {}
  Result<std::string> sql(Engine&, const std::string& from, const Schema& schema) const override {
    std::map<std::string, std::string> renamed(names_.begin(), names_.end());
    for (const auto& [old, fresh] : names_) {
      if (auto found = need_columns(schema, {old}); !found) return found.error();
      if (schema.index(fresh) && !renamed.contains(fresh))
        return invalid_argument(fmt::format("'{}' is the name of another column already", fresh));
    }
    return project(schema, from, [&](const Field& field) {
      const auto found = renamed.find(field.name);
      return found == renamed.end() ? quote_name(field.name)
                                    : quote_name(field.name) + " AS " + quote_name(found->second);
    });
  }

 private:
  std::vector<std::pair<std::string, std::string>> names_;
};

class Cast final : public RecipeStep {
 public:
  Cast(const Json& value, bool invalid_is_null, SpecReader& reader, const std::string& key)
      : function_(invalid_is_null ? "TRY_CAST" : "CAST") {
    for (const auto& [name, text] : text_entries(value)) {
      const auto type = parse_type(text);
      if (type) {
        types_[name] = *type;
      } else {
        reader.problem(key, type.error().message);
      }
    }
  }
  Result<std::string> sql(Engine&, const std::string& from, const Schema& schema) const override {
    for (const auto& [name, type] : types_) {
      if (auto found = need_columns(schema, {name}); !found) return found.error();
    }
    return project(schema, from, [&](const Field& field) {
      const auto type = types_.find(field.name);
      if (type == types_.end()) return quote_name(field.name);
      return fmt::format("{0}({1} AS {2}) AS {1}", function_, quote_name(field.name),
                         duck::sql_type(type->second));
    });
  }

 private:
  std::string function_;
  std::map<std::string, Type> types_;
};

class Filter final : public RecipeStep {
 public:
  explicit Filter(std::string condition) : condition_(std::move(condition)) {}
  Result<std::string> sql(Engine&, const std::string& from, const Schema&) const override {
    return fmt::format("SELECT * FROM {} WHERE ({}\n)", quote_name(from), condition_);
  }

 private:
  std::string condition_;
};

class Derive final : public RecipeStep {
 public:
  explicit Derive(const Json& value) : columns_(text_entries(value)) {}
  Result<std::string> sql(Engine&, const std::string& from, const Schema& schema) const override {
    std::map<std::string, std::string> derived(columns_.begin(), columns_.end());
    auto text = project(schema, from, [&](const Field& field) {
      const auto found = derived.find(field.name);
      if (found == derived.end()) return quote_name(field.name);
      return fmt::format("({}\n) AS {}", found->second, quote_name(field.name));
    });
    std::string added;
    for (const auto& [name, expression] : columns_) {
      if (!schema.index(name)) added += fmt::format(", ({}\n) AS {}", expression, quote_name(name));
    }
    return text.insert(text.rfind(" FROM "), added);
  }

 private:
  std::vector<std::pair<std::string, std::string>> columns_;
};

class Choose final : public RecipeStep {
 public:
  Choose(Names names, bool keep) : names_(std::move(names)), keep_(keep) {}
  Result<std::string> sql(Engine&, const std::string& from, const Schema& schema) const override {
    if (auto found = need_columns(schema, names_); !found) return found.error();
    if (keep_) return fmt::format("SELECT {} FROM {}", quoted_list(names_), quote_name(from));
    return project(schema, from, [&](const Field& field) {
      const bool dropped = std::find(names_.begin(), names_.end(), field.name) != names_.end();
      return dropped ? std::string() : quote_name(field.name);
    });
  }

 private:
  Names names_;
  bool keep_;
};

class Join final : public RecipeStep {
 public:
  explicit Join(SpecReader& reader) {
    with_ = reader.text("with");
    keys_ = read_join_keys(reader, "on");
    how_ = reader.one_of("how", {"left", "inner", "semi", "anti"}, "left");
    one_ = reader.one_of("expect", {"one", "many"}, "many") == "one";
    columns_ = reader.texts("columns");
    prefix_ = reader.text("prefix", "");
  }
  Result<std::string> sql(Engine& engine, const std::string& from,
                          const Schema& schema) const override {
    const auto right = engine.describe("SELECT * FROM " + quote_name(with_));
    if (!right) return right.error();
    std::string condition;
    std::set<std::string> keys;
    for (const auto& [mine, theirs] : keys_) {
      if (auto found = need_columns(schema, {mine}); !found) return found.error();
      if (auto found = need_columns(*right, {theirs}); !found)
        return found.error().at("'" + with_ + "'");
      keys.insert(theirs);
      condition += fmt::format("{}l.{} = r.{}", condition.empty() ? "" : " AND ", quote_name(mine),
                               quote_name(theirs));
    }
    std::string selected;
    auto taken = columns_;
    if (taken.empty()) {
      for (const auto& name : right->names()) {
        if (!keys.contains(name)) taken.push_back(name);
      }
    }
    const bool only_tests = how_ == "semi" || how_ == "anti";
    for (const auto& column : taken) {
      if (only_tests) break;
      if (auto found = need_columns(*right, {column}); !found)
        return found.error().at("'" + with_ + "'");
      if (schema.index(prefix_ + column)) {
        return invalid_argument(
            fmt::format("column '{}' stands on both sides; give a prefix, or name the columns to "
                        "take",
                        prefix_ + column));
      }
      selected += fmt::format(", r.{} AS {}", quote_name(column), quote_name(prefix_ + column));
    }
    return fmt::format("SELECT l.*{} FROM {} l {} JOIN {} r ON {}", selected, quote_name(from),
                       how_ == "inner" ? "" : how_, quote_name(with_), condition);
  }
  Result<void> check(const Context& ctx, Engine& engine, const std::string&) const override {
    if (!one_) return {};
    Deduplication unique{.keys = {}, .keep = "error", .order = ""};
    for (const auto& [mine, theirs] : keys_) unique.keys.push_back(theirs);
    auto checked = unique.check(ctx, engine, with_);
    if (checked) return {};
    return invalid_argument("the join expects one row of '" + with_ + "' for each key, but " +
                            checked.error().message);
  }

 private:
  std::string with_, how_, prefix_;
  std::vector<std::pair<std::string, std::string>> keys_;
  Names columns_;
  bool one_ = false;
};

class AsofJoin final : public RecipeStep {
 public:
  explicit AsofJoin(SpecReader& reader) : join_(PointInTime::read(reader)) {}
  Result<std::string> sql(Engine& engine, const std::string& from,
                          const Schema& schema) const override {
    const auto right = engine.describe("SELECT * FROM " + quote_name(join_.with));
    if (!right) return right.error();
    return join_.sql(from, schema, *right);
  }

 private:
  PointInTime join_;
};

class Window final : public RecipeStep {
 public:
  explicit Window(SpecReader& reader) {
    by_ = reader.texts("by");
    order_ = reader.text("order");
    const auto rows = reader.integer("rows", 0);
    const bool past = reader.boolean("past_only", true);
    if (reader.has("range")) {
      range_ = reader.duration("range", Duration{0});
    }
    if (rows < 0) reader.problem("rows", "rows is a number of rows before this one");
    if (range_ && rows > 0) reader.problem("range", "give either 'rows' or 'range'");
    if (range_) {
      frame_ = fmt::format("RANGE BETWEEN to_microseconds({}) PRECEDING AND {}", range_->count(),
                           past ? "to_microseconds(1) PRECEDING" : "CURRENT ROW");
    } else if (rows > 0) {
      frame_ = fmt::format("ROWS BETWEEN {} PRECEDING AND {}", rows,
                           past ? "1 PRECEDING" : "CURRENT ROW");
    }
    derive_ = text_entries(reader.json("derive"));
    if (derive_.empty()) reader.problem("derive", "derive is {name: expression}, such as avg(x)");
  }
  Result<std::string> sql(Engine&, const std::string& from, const Schema& schema) const override {
    auto needed = by_;
    needed.push_back(order_);
    if (auto found = need_columns(schema, needed); !found) return found.error();
    std::string added;
    for (const auto& [name, expression] : derive_)
      added += fmt::format(", {} OVER slipway_window AS {}", expression, quote_name(name));
    return fmt::format("SELECT *{} FROM {} WINDOW slipway_window AS ({} ORDER BY {} {})", added,
                       quote_name(from), by_.empty() ? "" : "PARTITION BY " + quoted_list(by_),
                       quote_name(order_), frame_);
  }

 private:
  Names by_;
  std::string order_, frame_;
  std::optional<Duration> range_;
  std::vector<std::pair<std::string, std::string>> derive_;
};

class Deduplicate final : public RecipeStep {
 public:
  explicit Deduplicate(SpecReader& reader) : rule_(Deduplication::read(reader)) {}
  Result<std::string> sql(Engine&, const std::string& from, const Schema& schema) const override {
    auto needed = rule_.keys;
    if (!rule_.order.empty()) needed.push_back(rule_.order);
    if (auto found = need_columns(schema, needed); !found) return found.error();
    return rule_.sql(from);
  }
  Result<void> check(const Context& ctx, Engine& engine, const std::string& from) const override {
    return rule_.check(ctx, engine, from);
  }

 private:
  Deduplication rule_;
};

// A number in [0, 1) that depends on the keys and the seed only, in every version of every program
// that has MD5 (RFC 1321).
std::string chance(const Names& keys, std::int64_t seed) {
  std::string text;
  for (const auto& key : keys)
    text += fmt::format(", coalesce(CAST({} AS VARCHAR), chr(30))", quote_name(key));
  return fmt::format("(md5_number_upper(concat_ws(chr(31), '{}'{})) / 18446744073709551616.0)",
                     seed, text);
}

class Split final : public RecipeStep {
 public:
  explicit Split(SpecReader& reader) {
    by_ = reader.one_of("by", {"time", "hash", "group", "stratum"}, "hash");
    on_ = reader.texts("on");
    if (on_.empty()) reader.problem("on", "on names the columns that decide");
    keys_ = reader.texts("key");
    column_ = reader.text("column", "split");
    seed_ = reader.integer("seed", 0);
    double sum = 0;
    for (auto& part : reader.list("parts")) {
      Part one{.name = part.text("name")};
      if (by_ == "time") {
        if (part.has("until")) {
          const auto until = parse_time(part.text("until"));
          if (until) {
            one.until = *until;
          } else {
            part.problem("until", until.error().message);
          }
        }
      } else {
        sum += part.number("share");
        one.below = sum;
      }
      part.close();
      parts_.push_back(std::move(one));
    }
    if (parts_.size() < 2) reader.problem("parts", "a split has two parts or more");
    if (by_ == "time" && on_.size() != 1) reader.problem("on", "a split by time is on one column");
    if (by_ == "stratum" && keys_.empty())
      reader.problem("key", "a split by stratum needs the columns that identify a row: key: [id]");
    if (by_ != "time" && std::abs(sum - 1) > 1e-9)
      reader.problem("parts", fmt::format("the shares sum to {}, not to 1", sum));
    for (std::size_t i = 0; by_ == "time" && i + 1 < parts_.size(); ++i) {
      if (!parts_[i].until || (i > 0 && *parts_[i].until <= *parts_[i - 1].until))
        reader.problem("parts", "each part but the last has an 'until', later than the one before");
    }
  }
  Result<std::string> sql(Engine&, const std::string& from, const Schema& schema) const override {
    if (auto found = need_columns(schema, on_); !found) return found.error();
    if (auto found = need_columns(schema, keys_); !found) return found.error();
    if (schema.index(column_))
      return invalid_argument("column '" + column_ + "' is there already; name another: column:");
    std::string cases;
    std::string value;
    if (by_ == "time") {
      value = quote_name(on_.front());
    } else if (by_ == "stratum") {
      // Within each stratum the rows stand in an order by chance; shares are cut from it.
      value = fmt::format(
          "((row_number() OVER (PARTITION BY {0} ORDER BY {1}, {2}) - 0.5) / count(*) OVER "
          "(PARTITION BY {0}))",
          quoted_list(on_), chance(keys_, seed_), quoted_list(keys_));
    } else {
      value = chance(on_, seed_);
    }
    for (std::size_t i = 0; i + 1 < parts_.size(); ++i) {
      auto shown = parts_[i].until ? format_time(*parts_[i].until) : std::string();
      if (!shown.empty()) shown.pop_back();  // the Z
      const auto bound =
          by_ == "time" ? "TIMESTAMP " + quote_text(shown) : fmt::format("{}", parts_[i].below);
      cases += fmt::format(" WHEN {} < {} THEN {}", value, bound, quote_text(parts_[i].name));
    }
    return fmt::format("SELECT *, CASE WHEN {} IS NULL THEN NULL{} ELSE {} END AS {} FROM {}",
                       value, cases, quote_text(parts_.back().name), quote_name(column_),
                       quote_name(from));
  }

 private:
  struct Part {
    std::string name;
    std::optional<Time> until;
    double below = 0;
  };
  std::string by_, column_;
  Names on_, keys_;
  std::int64_t seed_ = 0;
  std::vector<Part> parts_;
};

class Sample final : public RecipeStep {
 public:
  explicit Sample(SpecReader& reader) {
    share_ = reader.number("share", 0);
    rows_ = reader.integer("rows", 0);
    by_ = reader.texts("by");
    seed_ = reader.integer("seed", 0);
    if ((share_ > 0) == (rows_ > 0)) reader.problem("", "give either 'share' or 'rows', above 0");
    if (share_ > 1) reader.problem("share", "a share is at most 1");
    if (by_.empty()) reader.problem("by", "by names the columns that identify a row: by: [id]");
  }
  Result<std::string> sql(Engine&, const std::string& from, const Schema& schema) const override {
    if (auto found = need_columns(schema, by_); !found) return found.error();
    const auto value = chance(by_, seed_);
    if (share_ > 0)
      return fmt::format("SELECT * FROM {} WHERE {} < {}", quote_name(from), value, share_);
    return fmt::format(
        "SELECT * EXCLUDE (\"slipway position\") FROM (SELECT *, row_number() OVER () AS "
        "\"slipway position\" FROM {} QUALIFY row_number() OVER (ORDER BY {}, {}) <= {}) ORDER BY "
        "\"slipway position\"",
        quote_name(from), value, quoted_list(by_), rows_);
  }

 private:
  double share_ = 0;
  std::int64_t rows_ = 0;
  Names by_;
  std::int64_t seed_ = 0;
};

template <class Step>
std::shared_ptr<RecipeStep> nested(SpecReader& reader, const std::string& key) {
  auto object = reader.object(key);
  auto step = std::make_shared<Step>(object);
  object.close();
  return step;
}

std::shared_ptr<RecipeStep> read_step(SpecReader& reader, const std::string& kind) {
  if (kind == "join") return nested<Join>(reader, kind);
  if (kind == "asof_join") return nested<AsofJoin>(reader, kind);
  if (kind == "window") return nested<Window>(reader, kind);
  if (kind == "deduplicate") return nested<Deduplicate>(reader, kind);
  if (kind == "split") return nested<Split>(reader, kind);
  if (kind == "sample") return nested<Sample>(reader, kind);
  if (kind == "filter") return std::make_shared<Filter>(reader.text(kind));
  if (kind == "select" || kind == "drop")
    return std::make_shared<Choose>(reader.texts(kind), kind == "select");
  const Json value = reader.json(kind);
  if (!value.is_object() || value.empty()) {
    reader.problem(kind, fmt::format("{} is a mapping of columns", kind));
    return nullptr;
  }
  if (kind == "rename") return std::make_shared<Rename>(value);
  if (kind == "derive") return std::make_shared<Derive>(value);
  return std::make_shared<Cast>(value, kind == "try_cast", reader, kind);
}

}  // namespace

Recipe::Recipe() = default;
Recipe::~Recipe() = default;
Recipe::Recipe(Recipe&&) noexcept = default;
Recipe& Recipe::operator=(Recipe&&) noexcept = default;

Recipe Recipe::read(SpecReader& reader, std::string_view key) {
  static const Names kKinds = {"rename",      "cast",  "try_cast", "filter",    "derive",
                               "select",      "drop",  "join",     "asof_join", "window",
                               "deduplicate", "split", "sample"};
  Recipe recipe;
  if (!reader.has(key)) return recipe;
  for (auto& entry : reader.list(key)) {
    const auto keys = entry.keys();
    const bool known =
        keys.size() == 1 && std::find(kKinds.begin(), kKinds.end(), keys[0]) != kKinds.end();
    if (!known) {
      const auto near = keys.size() == 1 ? nearest(keys[0], kKinds) : std::nullopt;
      entry.problem("", fmt::format("a step is one of {}{}", fmt::join(kKinds, ", "),
                                    near ? "; did you mean '" + *near + "'?" : ""));
      for (const auto& each : keys) entry.json(each);
      continue;
    }
    auto step = read_step(entry, keys[0]);
    if (!step) continue;
    step->place = entry.place(keys[0]);
    entry.close();
    recipe.steps_.push_back(std::move(step));
  }
  return recipe;
}

Result<std::string> Recipe::apply(const Context& ctx, Engine& engine,
                                  const std::string& from) const {
  std::string last = from;
  int number = 0;
  for (const auto& step : steps_) {
    const auto schema = engine.describe("SELECT * FROM " + quote_name(last));
    if (!schema) return schema.error().at(step->place);
    if (auto good = step->check(ctx, engine, last); !good) return good.error().at(step->place);
    const auto sql = step->sql(engine, last, *schema);
    if (!sql) return sql.error().at(step->place);
    const auto name = fmt::format("{} step {}", from, ++number);
    // The line and column in the SQL made here would tell nobody anything.
    if (auto made = engine.define(name, *sql, {.file = step->place, .exact = false}); !made)
      return made.error();
    last = name;
  }
  return last;
}

Deduplication Deduplication::read(SpecReader& reader) {
  Deduplication rule;
  rule.keys = reader.texts("by");
  if (rule.keys.empty()) reader.problem("by", "by names the columns that identify a row");
  rule.keep = reader.one_of("keep", {"first", "last", "error"}, "last");
  rule.order = reader.text("order", "");
  return rule;
}

std::string Deduplication::sql(const std::string& relation) const {
  const auto direction = keep == "last" ? "DESC" : "ASC";
  const auto first = order.empty() ? "" : fmt::format("{} {}, ", quote_name(order), direction);
  return fmt::format(
      "SELECT * EXCLUDE (\"slipway position\") FROM (SELECT *, row_number() OVER () AS \"slipway "
      "position\" FROM {}) QUALIFY row_number() OVER (PARTITION BY {} ORDER BY {}\"slipway "
      "position\" {}) = 1 ORDER BY \"slipway position\"",
      quote_name(relation), quoted_list(keys), first, direction);
}

Result<void> Deduplication::check(const Context& ctx, Engine& engine,
                                  const std::string& relation) const {
  if (keep != "error") return {};
  std::string shown;
  for (const auto& key : keys)
    shown += fmt::format(", {} || coalesce(CAST({} AS VARCHAR), 'null')",
                         quote_text((shown.empty() ? "" : ", ") + key + " = "), quote_name(key));
  const auto twice = engine.query(
      ctx, fmt::format("SELECT concat({}) AS \"key\", count(*) AS n FROM {} GROUP BY {} HAVING "
                       "count(*) > 1 ORDER BY n DESC, 1 LIMIT 1",
                       shown.substr(2), quote_name(relation), quoted_list(keys)));
  if (!twice) return twice.error();
  const auto columns = Columns::from_table(*twice);
  if (!columns) return columns.error();
  if (columns->rows() == 0) return {};
  const Batch batch = columns->batch();
  return invalid_argument(
      fmt::format("{} stands in {} rows", batch.columns[0].text(0), batch.columns[1].integer(0)));
}

}  // namespace slipway::data
