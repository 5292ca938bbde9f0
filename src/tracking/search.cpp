// Searching runs: the filter and the order become one SQL statement over the indexes of
// sql/0001_init.sql. Without a filter, ordering by a metric walks that metric's index instead of
// sorting all runs, so a page costs what it shows; with one, the runs it leaves are sorted.
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

// " AND r.seq IN (SELECT run FROM <table> WHERE key = ? AND …)"
Result<void> add_keyed_text(SqlText& query, std::string_view table, const Comparison& comparison) {
  const std::string_view key = comparison.name.key;
  if (comparison.op == Op::is_null || comparison.op == Op::is_not_null) {
    query.add(comparison.op == Op::is_null ? " AND r.seq NOT IN" : " AND r.seq IN")
        .add(" (SELECT run FROM ")
        .add(table)
        .add(" WHERE key = ?)")
        .bind(key);
    return {};
  }
  query.add(" AND r.seq IN (SELECT run FROM ").add(table).add(" WHERE key = ?").bind(key);
  const auto* value = std::get_if<std::string>(&comparison.value);
  if (comparison.op == Op::eq && value != nullptr) {  // the index holds the first 64 characters
    query.add(" AND substr(value, 1, 64) = substr(?, 1, 64)").bind(std::string_view(*value));
  }
  query.add(" AND ");
  if (auto added = query.compare_text("value", comparison); !added) return added;
  query.add(")");
  return {};
}

Result<void> add_condition(SqlText& query, const Comparison& comparison) {
  const auto target = find_target(comparison.name);
  if (!target) return target.error();
  switch (target->entity) {
    case Entity::attribute:
      query.add(" AND ");
      return target->numeric ? query.compare_number(target->column, comparison)
                             : query.compare_text(target->column, comparison);
    case Entity::metric:
      // NaN is not equal to any number, and neither less nor greater.
      query.add(" AND r.seq IN (SELECT run FROM run_latest_metrics WHERE key = ?")
          .bind(std::string_view(comparison.name.key))
          .add(comparison.op == Op::ne ? " AND (is_nan = 1 OR " : " AND (is_nan = 0 AND ");
      if (auto added = query.compare_number("value", comparison); !added) return added;
      query.add("))");
      return {};
    case Entity::param:
      return add_keyed_text(query, "run_params", comparison);
    case Entity::tag:
      return add_keyed_text(query, "run_tags", comparison);
    case Entity::dataset:
      query.add(" AND r.seq IN (SELECT run FROM run_inputs WHERE ");
      if (auto added = query.compare_text(target->column, comparison); !added) return added;
      query.add(")");
      return {};
  }
  return internal("unknown kind of name in a filter");
}

// When all runs are ordered by a metric first, the result is three lists one after the other: runs
// with a number, with NaN, and without the metric. `whole` is everything else.
enum class Part { whole, numbers, nans, missing };

// Everything needed to write the statement of any part.
struct Plan {
  std::string experiments;                     // "[1,2]"
  std::optional<std::int64_t> one_experiment;  // when it is just one
  View view = View::active_only;
  std::vector<Comparison> filter;
  struct By {
    Order order;
    Target target;
  };
  std::vector<By> by;
  std::string identity;  // what page tokens are bound to

  bool by_metric() const {
    return filter.empty() && !by.empty() && by[0].target.entity == Entity::metric;
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
  plan.filter = *std::move(filter);
  for (const auto& text : search.order_by) {
    plan.identity += "|" + text;
    auto order = parse_order(text);
    if (!order) return order.error();
    auto target = find_target(order->name);
    if (!target) return target.error();
    if (target->entity == Entity::dataset) {
      return invalid_argument("order_by: runs have many datasets and cannot be ordered by one");
    }
    plan.by.push_back({*std::move(order), *std::move(target)});
    if (plan.by.size() > 20) return invalid_argument("order_by has more than 20 entries");
  }
  return plan;
}

// The order's own table, joined as o<i>.
void add_join(SqlText& query, const Plan::By& by, std::size_t i) {
  const std::string_view table = by.target.entity == Entity::metric  ? "run_latest_metrics"
                                 : by.target.entity == Entity::param ? "run_params"
                                                                     : "run_tags";
  query.add(fmt::format(" LEFT JOIN {} o{} ON o{}.run = r.seq AND o{}.key = ?", table, i, i, i))
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

Result<SqlText> write_query(const Plan& plan, Part part, std::string_view select,
                            std::optional<std::pair<std::int64_t, std::int64_t>> limit_offset) {
  SqlText query;
  const bool by_index = part == Part::numbers || part == Part::nans;
  query.add("SELECT ").add(select);
  // CROSS JOIN: SQLite keeps the order of the tables, so the metric's index is the outer loop.
  query.add(by_index ? " FROM run_latest_metrics o0 CROSS JOIN runs r ON r.seq = o0.run"
                     : " FROM runs r");
  const std::size_t first_joined = part == Part::whole ? 0 : 1;
  if (limit_offset) {
    for (std::size_t i = first_joined; i < plan.by.size(); ++i) {
      if (plan.by[i].target.entity != Entity::attribute) add_join(query, plan.by[i], i);
    }
  }
  query.add(" WHERE ");
  if (by_index) {
    query.add("o0.key = ? AND o0.is_nan = ").bind(std::string_view(plan.by[0].order.name.key));
    query.add(part == Part::nans ? "1 AND " : "0 AND ");
  } else if (part == Part::missing) {
    query.add("r.seq NOT IN (SELECT run FROM run_latest_metrics WHERE key = ?) AND ")
        .bind(std::string_view(plan.by[0].order.name.key));
  }
  if (plan.one_experiment) {  // lets SQLite read runs_newest in order
    query.add("r.experiment_id = ?").bind(*plan.one_experiment);
  } else {
    query.add("r.experiment_id IN (SELECT value FROM json_each(?))")
        .bind(std::string_view(plan.experiments));
  }
  if (plan.view == View::active_only) query.add(" AND r.deleted_ms IS NULL");
  if (plan.view == View::deleted_only) query.add(" AND r.deleted_ms IS NOT NULL");
  for (const auto& comparison : plan.filter) {
    if (auto added = add_condition(query, comparison); !added) return added.error();
  }
  if (limit_offset) {
    query.add(" ORDER BY ");
    if (part == Part::numbers) {
      query.add(plan.by[0].order.descending ? "o0.value DESC, " : "o0.value, ");
    }
    for (std::size_t i = first_joined; i < plan.by.size(); ++i) {
      query.add(order_term(plan.by[i], i));
    }
    query.add("r.start_ms DESC, r.id LIMIT ? OFFSET ?")
        .bind(limit_offset->first)
        .bind(limit_offset->second);
  }
  return query;
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

}  // namespace

Result<Page<Run>> Tracking::search_runs(const RunSearch& search) const {
  if (auto checked = check_page_size(search.max_results, impl_->limits.page); !checked) {
    return checked.error();
  }
  const auto plan = make_plan(search);
  if (!plan) return plan.error();
  const auto offset = read_page_token(search.page, plan->identity);
  if (!offset) return offset.error();
  return impl_->db.read([&](db::Connection& c) -> Result<Page<Run>> {
    std::vector<std::int64_t> seqs;
    std::int64_t skip = *offset;
    const std::int64_t wanted = search.max_results + 1;  // one more tells whether a page follows
    const auto parts = plan->by_metric() ? std::vector{Part::numbers, Part::nans, Part::missing}
                                         : std::vector{Part::whole};
    for (const Part part : parts) {
      const std::int64_t missing = wanted - std::ssize(seqs);
      if (missing == 0) break;
      if (auto took = take(c, *plan, part, missing, skip, seqs); !took) return took.error();
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
