// Searching runs: the filter and the order become one SQL statement over the indexes of
// sql/0001_init.sql, and the way through them is chosen here, because it makes the difference
// between a millisecond and a minute: either the runs are walked in the order wanted, each looked
// at until the page is full, or those that the rarest condition leaves are collected and sorted.
// Both give the same rows.
#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

enum class Entity { attribute, metric, param, tag, dataset };

struct Target {
  Entity entity = Entity::attribute;
  std::string column;  // of an attribute or dataset
  bool numeric = false;
};

struct ColumnName {
  std::string_view name;
  std::string_view column;
  bool numeric;
};
constexpr ColumnName kAttributes[] = {
    {"run_id", "r.id", false},          {"run_name", "r.name", false},
    {"Run name", "r.name", false},      {"run name", "r.name", false},
    {"Run Name", "r.name", false},      {"status", "r.status", false},
    {"user_id", "r.user_id", false},    {"user", "r.user_id", false},
    {"User", "r.user_id", false},       {"artifact_uri", "r.artifact_uri", false},
    {"start_time", "r.start_ms", true}, {"created", "r.start_ms", true},
    {"Created", "r.start_ms", true},    {"end_time", "r.end_ms", true},
};
constexpr ColumnName kDatasetColumns[] = {
    {"name", "name", false}, {"digest", "digest", false}, {"context", "context", false}};

template <std::size_t N>
Result<Target> find_column(Entity entity, const ColumnName (&columns)[N], const Name& name) {
  for (const auto& column : columns) {
    if (column.name == name.key) return Target{entity, std::string(column.column), column.numeric};
  }
  std::string known;
  for (const auto& column : columns) {
    if (!known.empty()) known += ", ";
    known += column.name;
  }
  return invalid_argument(
      fmt::format("Invalid attribute key '{}' specified. Valid keys are {}", name.key, known));
}

Result<Target> find_target(const Name& name) {
  static constexpr std::pair<std::string_view, Entity> kScopes[] = {
      {"", Entity::attribute},
      {"attribute", Entity::attribute},
      {"attributes", Entity::attribute},
      {"attr", Entity::attribute},
      {"run", Entity::attribute},
      {"metric", Entity::metric},
      {"metrics", Entity::metric},
      {"param", Entity::param},
      {"params", Entity::param},
      {"parameter", Entity::param},
      {"parameters", Entity::param},
      {"tag", Entity::tag},
      {"tags", Entity::tag},
      {"dataset", Entity::dataset},
      {"datasets", Entity::dataset}};
  for (const auto& [scope, entity] : kScopes) {
    if (scope != name.scope) continue;
    if (entity == Entity::attribute) return find_column(entity, kAttributes, name);
    if (entity == Entity::dataset) return find_column(entity, kDatasetColumns, name);
    return Target{entity, {}, entity == Entity::metric};
  }
  return invalid_argument(fmt::format(
      "Invalid entity type '{}'. Valid values are metrics, params, tags, attributes and datasets",
      name.scope));
}

// How a condition on one of a run's tables is put into the statement.
enum class Form {
  probe,  // looked up for each run
  list,   // its runs are collected first
};

std::string_view table_of(Entity entity) {
  return entity == Entity::metric  ? "run_latest_metrics"
         : entity == Entity::param ? "run_params"
                                   : "run_tags";
}

// A comparison, and what its name means. A run's name is looked for where MLflow looks: in the tag.
struct Condition {
  Comparison comparison;
  Target target;

  bool is_indexed() const {  // its runs can be listed and counted without looking at others
    if (target.entity == Entity::metric) {
      return comparison.op != Op::ne && std::holds_alternative<double>(comparison.value);
    }
    return (target.entity == Entity::param || target.entity == Entity::tag) &&
           comparison.op == Op::eq;
  }
  bool is_of(Entity entity, std::string_view key) const {
    return target.entity == entity && comparison.name.key == key;
  }
  bool names_runs() const {
    return target.column == "r.id" && (comparison.op == Op::eq || comparison.op == Op::in);
  }
};

Result<Condition> make_condition(Comparison comparison) {
  auto target = find_target(comparison.name);
  if (!target) return target.error();
  if (target->column == "r.name") {
    comparison.name.key = kRunNameTag;
    target = Target{Entity::tag, {}, false};
  }
  return Condition{std::move(comparison), *std::move(target)};
}

// Text columns are indexed by this many characters of theirs.
constexpr std::size_t kIndexed = 64;

// "t.value = ?" by the index. A value that is shorter than what the index holds is found by that
// alone; written beside it, "t.value = ?" would tempt SQLite to put the value into substr(), and
// with that out of the index's reach.
void add_equal_text(SqlText& query, std::string_view value) {
  query.add(" AND substr(t.value, 1, 64) = substr(?, 1, 64)").bind(value);
  if (characters(value) < kIndexed) return;
  query.add(" AND t.value >= ? AND t.value <= ?").bind(value).bind(value);
}

// "t.key = ? AND …": what a row of the condition's table has to be.
Result<void> add_row_test(SqlText& query, const Condition& condition, Form form) {
  const auto& comparison = condition.comparison;
  if (condition.target.entity == Entity::dataset) {
    if (condition.target.column == "context") query.add("t.context <> '' AND ");  // '': not said
    return query.compare_text("t." + condition.target.column, comparison);
  }
  query.add("t.key = ?").bind(std::string_view(comparison.name.key));
  if (condition.target.entity == Entity::metric) {
    // NaN is not equal to any number, and neither less nor greater. Sums are in no index: a probe
    // goes by the run's number, also on PostgreSQL while it has no statistics of the table.
    const std::string_view as_is = form == Form::list ? "" : " + 0";
    query.add(" AND (t.is_nan").add(as_is);
    query.add(comparison.op == Op::ne ? " = 1 OR " : " = 0 AND ");
    const std::string value = "t.value" + std::string(as_is);
    if (auto added = query.compare_number(value, comparison); !added) return added;
    query.add(")");
    return {};
  }
  if (comparison.op == Op::is_null || comparison.op == Op::is_not_null) return {};
  const auto* value = std::get_if<std::string>(&comparison.value);
  if (form == Form::list && comparison.op == Op::eq && value != nullptr) {
    add_equal_text(query, *value);
    return {};
  }
  query.add(" AND ");
  return query.compare_text("t.value", comparison);
}

// " AND …", true for runs that meet the condition.
Result<void> add_condition(SqlText& query, const Condition& condition, Form form) {
  const auto& [comparison, target] = condition;
  if (target.entity == Entity::attribute) {
    query.add(" AND ");
    return target.numeric ? query.compare_number(target.column, comparison)
                          : query.compare_text(target.column, comparison);
  }
  const std::string_view table =
      target.entity == Entity::dataset ? "run_inputs" : table_of(target.entity);
  const std::string_view negated = comparison.op == Op::is_null ? "NOT " : "";
  if (form == Form::list) {
    query.add(" AND r.seq ").add(negated).add("IN (SELECT t.run FROM ").add(table).add(" t WHERE ");
  } else {
    query.add(" AND ").add(negated).add("EXISTS (SELECT 1 FROM ").add(table);
    query.add(" t WHERE t.run = r.seq AND ");
  }
  if (auto added = add_row_test(query, condition, form); !added) return added;
  // With an OFFSET, PostgreSQL leaves the probe a probe, and does not make a join of it.
  query.add(form == Form::list ? ")" : " LIMIT 1 OFFSET 0)");
  return {};
}

// When runs are walked in the order of a metric, param or tag, the result is lists one after the
// other: runs with a value, with NaN, and without any. `whole` is everything else.
enum class Part { whole, values, nans, missing };

// Everything needed to write the statement of any part.
struct Plan {
  std::string experiments;                     // "[1,2]"
  std::optional<std::int64_t> one_experiment;  // when it is just one
  View view = View::active_only;
  std::vector<Condition> filter;
  struct By {
    Order order;
    Target target;
  };
  std::vector<By> by;
  std::string identity;  // what page tokens are bound to

  // The way: chosen by choose_way().
  bool walk = false;                 // in the order wanted
  std::optional<std::size_t> first;  // the condition whose runs are collected
  Form form = Form::list;            // of the other conditions

  bool by_key() const { return !by.empty() && by[0].target.entity != Entity::attribute; }
  bool by_metric() const { return by_key() && by[0].target.entity == Entity::metric; }
  bool by_start() const {  // an index has this order
    return one_experiment &&
           (by.empty() || (by[0].target.column == "r.start_ms" && by[0].order.descending));
  }
};

Result<Plan> make_plan(const RunSearch& search) {
  Plan plan;
  std::vector<std::int64_t> ids;
  for (const auto& id : search.experiments) ids.push_back(id.value);
  plan.experiments = json_list(ids);
  if (ids.size() == 1) plan.one_experiment = ids[0];
  plan.view = search.view;
  plan.identity =
      fmt::format("runs|{}|{}|{}", plan.experiments, static_cast<int>(search.view), search.filter);
  auto filter = parse_filter(search.filter);
  if (!filter) return filter.error();
  for (auto& comparison : *filter) {
    auto condition = make_condition(std::move(comparison));
    if (!condition) return condition.error();
    plan.filter.push_back(*std::move(condition));
  }
  for (const auto& text : search.order_by) {
    plan.identity += "|" + text;
    auto order = parse_order(text);
    if (!order) return order.error();
    auto target = find_target(order->name);
    if (!target) return target.error();
    if (target->entity == Entity::dataset) {
      return invalid_argument("order_by: runs have many datasets and cannot be ordered by one");
    }
    for (const auto& [other, meant] : plan.by) {
      const bool same = meant.entity == target->entity &&
                        (meant.entity == Entity::attribute ? meant.column == target->column
                                                           : other.name.key == order->name.key);
      if (same) {
        return invalid_argument(fmt::format(
            "`order_by` contains duplicate fields: '{}' stands there twice", order->name.text()));
      }
    }
    plan.by.push_back({*std::move(order), *std::move(target)});
    if (plan.by.size() > 20) return invalid_argument("order_by has more than 20 entries");
  }
  return plan;
}

void add_experiments(SqlText& query, const Plan& plan) {
  if (plan.one_experiment) {
    query.add("r.experiment_id = ?").bind(*plan.one_experiment);
  } else {
    query.add("r.experiment_id IN (SELECT value FROM json_each(?))")
        .bind(std::string_view(plan.experiments));
  }
  if (plan.view == View::active_only) query.add(" AND r.deleted_ms IS NULL");
  if (plan.view == View::deleted_only) query.add(" AND r.deleted_ms IS NOT NULL");
}

// The order's own table, joined as o<i>.
void add_join(SqlText& query, const Plan::By& by, std::size_t i) {
  query
      .add(fmt::format(" LEFT JOIN {} o{} ON o{}.run = r.seq AND o{}.key = ?",
                       table_of(by.target.entity), i, i, i))
      .bind(std::string_view(by.order.name.key));
}

// Numbers first, then NaN, then runs without a value, whichever the direction.
std::string order_term(const Plan::By& by, std::size_t i) {
  const std::string_view direction = by.order.descending ? " DESC" : "";
  if (by.target.entity == Entity::attribute) {
    return fmt::format("{} IS NULL, {}{}, ", by.target.column, by.target.column, direction);
  }
  if (by.target.entity == Entity::metric) {
    return fmt::format(
        "CASE WHEN o{0}.is_nan = 1 THEN 1 WHEN o{0}.run IS NULL THEN 2 ELSE 0 END, o{0}.value{1}, ",
        i, direction);
  }
  return fmt::format("o{0}.run IS NULL, o{0}.value{1}, ", i, direction);
}

// The tables, each run once, before WHERE.
Result<void> add_tables(SqlText& query, const Plan& plan, Part part) {
  // CROSS JOIN: SQLite keeps the order of the tables, so the first is the outer loop.
  if (part == Part::values || part == Part::nans) {
    query.add(" FROM ").add(table_of(plan.by[0].target.entity));
    query.add(" o0 CROSS JOIN runs r ON r.seq = o0.run");
  } else if (plan.first) {
    const Condition& first = plan.filter[*plan.first];
    query.add(" FROM (SELECT t.run FROM ").add(table_of(first.target.entity)).add(" t WHERE ");
    if (auto added = add_row_test(query, first, Form::list); !added) return added;
    query.add(") AS d CROSS JOIN runs r ON r.seq = d.run");
  } else if (plan.walk && part == Part::whole) {
    query.add(" FROM runs r INDEXED BY ");
    query.add(plan.view == View::active_only ? "runs_newest" : "runs_all");
  } else {
    query.add(" FROM runs r");
  }
  return {};
}

// The part's own conditions, after WHERE.
void add_part(SqlText& query, const Plan& plan, Part part) {
  if (part == Part::whole) return;
  const std::string_view key = plan.by[0].order.name.key;
  if (part == Part::missing) {
    query.add("NOT EXISTS (SELECT 1 FROM ").add(table_of(plan.by[0].target.entity));
    query.add(" t WHERE t.run = r.seq AND t.key = ?) AND ").bind(key);
    return;
  }
  query.add("o0.key = ? AND ").bind(key);
  if (plan.by_metric()) query.add(part == Part::nans ? "o0.is_nan = 1 AND " : "o0.is_nan = 0 AND ");
}

Result<void> add_filter(SqlText& query, const Plan& plan, Part part) {
  for (std::size_t i = 0; i < plan.filter.size(); ++i) {
    const Condition& condition = plan.filter[i];
    if (plan.first == i) continue;  // see add_tables
    if (part == Part::values && plan.by_metric() &&
        condition.is_of(Entity::metric, plan.by[0].order.name.key)) {
      query.add(" AND ");  // on the index that is walked
      if (auto added = query.compare_number("o0.value", condition.comparison); !added) return added;
      continue;
    }
    if (auto added = add_condition(query, condition, plan.form); !added) return added;
  }
  return {};
}

Result<SqlText> write_query(const Plan& plan, Part part, std::string_view select,
                            std::optional<std::pair<std::int64_t, std::int64_t>> limit_offset) {
  SqlText query;
  query.add("SELECT ").add(select);
  if (auto added = add_tables(query, plan, part); !added) return added.error();
  const std::size_t first_joined = part == Part::whole ? 0 : 1;
  if (limit_offset) {
    for (std::size_t i = first_joined; i < plan.by.size(); ++i) {
      if (plan.by[i].target.entity != Entity::attribute) add_join(query, plan.by[i], i);
    }
  }
  query.add(" WHERE ");
  add_part(query, plan, part);
  add_experiments(query, plan);
  if (auto added = add_filter(query, plan, part); !added) return added.error();
  if (limit_offset) {
    query.add(" ORDER BY ");
    if (part == Part::values) {
      const std::string_view direction = plan.by[0].order.descending ? " DESC, " : ", ";
      // Of texts the index holds the beginning, which has the same order.
      if (!plan.by_metric()) query.add("substr(o0.value, 1, 64)").add(direction);
      query.add("o0.value").add(direction);
    }
    for (std::size_t i = first_joined; i < plan.by.size(); ++i) {
      // start_ms is never NULL, and a term that says so would hide the index's order
      if (plan.by[i].target.column == "r.start_ms") {
        query.add(plan.by[i].order.descending ? "r.start_ms DESC, " : "r.start_ms, ");
        continue;
      }
      query.add(order_term(plan.by[i], i));
    }
    const auto is_start = [](const Plan::By& by) { return by.target.column == "r.start_ms"; };
    if (std::ranges::none_of(plan.by, is_start)) query.add("r.start_ms DESC, ");
    query.add("r.id LIMIT ? OFFSET ?").bind(limit_offset->first).bind(limit_offset->second);
  }
  return query;
}

Result<std::int64_t> read_number(db::Connection& connection, const SqlText& query) {
  auto rows = query.run(connection);
  if (!rows) return rows.error();
  const std::int64_t number = rows->next() ? rows->integer(0) : 0;
  if (auto status = rows->status(); !status) return status.error();
  return number;
}

// Counting stops here, or later when the first look leaves it open: it takes a microsecond a row.
constexpr std::int64_t kFirstLook = 1'000;
constexpr std::int64_t kSecondLook = 8'000;
// Runs are counted in an index alone, twenty in that time; to look at so many is bearable.
constexpr std::int64_t kMostRunsCounted = 20'000;

// How many rows the condition's table has for it, or `most`.
Result<std::int64_t> count_rows(db::Connection& connection, const Condition& condition,
                                std::int64_t most) {
  SqlText query;
  query.add("SELECT count(*) FROM (SELECT 1 FROM ").add(table_of(condition.target.entity));
  query.add(" t WHERE ");
  if (auto added = add_row_test(query, condition, Form::list); !added) return added.error();
  query.add(" LIMIT ?) AS counted").bind(most);
  return read_number(connection, query);
}

// The experiments' runs, or `most`.
Result<std::int64_t> count_runs(db::Connection& connection, const Plan& plan, std::int64_t most) {
  SqlText query;
  query.add("SELECT count(*) FROM (SELECT 1 FROM runs r WHERE ");
  add_experiments(query, plan);
  query.add(" LIMIT ?) AS counted").bind(most);
  return read_number(connection, query);
}

// Guesses how many runs either way looks at, taking the conditions for independent of each other,
// and sets the plan's way. False when more counting could tell more.
Result<bool> guess_way(db::Connection& connection, Plan& plan, std::int64_t wanted,
                       std::int64_t most_counted) {
  constexpr double kUnknown = std::numeric_limits<double>::infinity();
  const bool can_walk = plan.by_key() || plan.by_start();
  auto all = count_runs(connection, plan, kMostRunsCounted);
  if (!all) return all.error();
  const bool few = *all < kSecondLook;
  double collected = few ? static_cast<double>(*all) : kUnknown;
  if (*all == kMostRunsCounted) {
    SqlText greatest;
    greatest.add("SELECT max(seq) FROM runs");
    all = read_number(connection, greatest);
    if (!all) return all.error();
  }
  double walked = static_cast<double>(wanted);
  plan.first.reset();
  for (std::size_t i = 0; i < plan.filter.size(); ++i) {
    if (!plan.filter[i].is_indexed()) {
      walked *= 2;
      continue;
    }
    const auto count = count_rows(connection, plan.filter[i], most_counted);
    if (!count) return count.error();
    const auto rows = static_cast<double>(std::max<std::int64_t>(1, *count));
    walked *= std::max(1.0, static_cast<double>(*all) / rows);
    if (*count < most_counted && rows < collected) {
      collected = rows;
      plan.first = i;
    }
  }
  walked = std::min(walked, static_cast<double>(*all));  // a walk ends with the runs
  plan.walk = can_walk && walked <= collected;
  if (plan.walk) plan.first.reset();
  plan.form = plan.walk || plan.first || few ? Form::probe : Form::list;
  return collected < kUnknown || (can_walk && walked <= kMostRunsCounted);
}

Result<void> choose_way(db::Connection& connection, Plan& plan, std::int64_t wanted) {
  if (plan.filter.empty()) {
    plan.walk = plan.by_key() || plan.by_start();
    return {};
  }
  if (std::ranges::any_of(plan.filter, &Condition::names_runs)) {
    plan.form = Form::probe;
    return {};
  }
  for (const std::int64_t most_counted : {kFirstLook, kSecondLook}) {
    const auto sure = guess_way(connection, plan, wanted, most_counted);
    if (!sure) return sure.error();
    if (*sure) break;
  }
  return {};
}

// The parts that can hold runs, in their order.
std::vector<Part> parts_of(const Plan& plan) {
  if (!plan.walk || !plan.by_key()) return {Part::whole};
  std::vector<Part> parts = {Part::values};
  bool nans = plan.by_metric();
  bool missing = true;
  for (const Condition& condition : plan.filter) {
    if (!condition.is_of(plan.by[0].target.entity, plan.by[0].order.name.key)) continue;
    if (condition.comparison.op != Op::is_null) missing = false;
    if (condition.comparison.op != Op::ne) nans = false;
  }
  if (nans) parts.push_back(Part::nans);
  if (missing) parts.push_back(Part::missing);
  return parts;
}

// Appends up to `most` runs of one part, leaving out the first `skip`; `skip` becomes what is still
// to be left out in the parts after it.
Result<void> take(db::Connection& connection, const Plan& plan, Part part, std::int64_t most,
                  std::int64_t& skip, std::vector<std::int64_t>& seqs) {
  auto query = write_query(plan, part, "r.seq", std::pair(most, skip));
  if (!query) return query.error();
  const std::size_t before = seqs.size();
  {
    auto rows = query->run(connection);
    if (!rows) return rows.error();
    while (rows->next()) seqs.push_back(rows->integer(0));
    if (auto status = rows->status(); !status) return status;
  }
  if (seqs.size() > before || skip == 0) {
    skip = 0;
    return {};
  }
  auto count = write_query(plan, part, "count(*)", std::nullopt);
  if (!count) return count.error();
  auto rows = count->run(connection);
  if (!rows) return rows.error();
  if (rows->next()) skip = std::max<std::int64_t>(0, skip - rows->integer(0));
  return rows->status();
}

// A walk ends when the page is full. PostgreSQL's planner does not see that where it guesses that
// few runs are left, as before its first statistics: it would look at all and sort them. Forbidden
// to, it walks the index, and sorts no more than what is equal there. SQLite does so by itself.
Result<void> set_sorting(db::Connection& connection, bool allowed) {
  if (connection.backend() != db::Backend::postgres) return {};
  auto rows = connection.query("SELECT set_config('enable_sort', ?, true)", allowed ? "on" : "off");
  if (!rows) return rows.error();
  rows->next();
  return rows->status();
}

}  // namespace

Result<Page<Run>> Tracking::search_runs(const RunSearch& search) const {
  if (auto checked = check_page_size(search.max_results, impl_->limits.page); !checked) {
    return checked.error();
  }
  auto plan = make_plan(search);
  if (!plan) return plan.error();
  const auto offset = read_page_token(search.page, plan->identity);
  if (!offset) return offset.error();
  return impl_->db.read([&](db::Connection& c) -> Result<Page<Run>> {
    std::vector<std::int64_t> seqs;
    std::int64_t skip = *offset;
    const std::int64_t wanted = search.max_results + 1;  // one more tells whether a page follows
    if (auto chosen = choose_way(c, *plan, skip + wanted); !chosen) return chosen.error();
    if (plan->walk) {
      if (auto set = set_sorting(c, false); !set) return set.error();
    }
    for (const Part part : parts_of(*plan)) {
      const std::int64_t missing = wanted - std::ssize(seqs);
      if (missing == 0) break;
      if (auto took = take(c, *plan, part, missing, skip, seqs); !took) return took.error();
    }
    if (plan->walk) {
      if (auto set = set_sorting(c, true); !set) return set.error();
    }
    Page<Run> page;
    if (std::ssize(seqs) == wanted) {
      seqs.pop_back();
      page.next_page = make_page_token(*offset + search.max_results, plan->identity);
    }
    auto runs = load_runs(c, seqs);
    if (!runs) return runs.error();
    page.items = *std::move(runs);
    return page;
  });
}

}  // namespace slipway::tracking
