#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

constexpr std::size_t kLongestName = 500;  // characters

struct StatusName {
  ModelStatus status;
  std::string_view name;
};
constexpr StatusName kStatusNames[] = {{ModelStatus::pending, "PENDING"},
                                       {ModelStatus::ready, "READY"},
                                       {ModelStatus::failed, "FAILED"}};

ModelStatus read_status(std::string_view text) {
  for (const auto& row : kStatusNames) {
    if (row.name == text) return row.status;
  }
  return ModelStatus::pending;
}

struct ModelRow {
  std::int64_t seq = 0;
  LoggedModel model;
};

// The columns of sql::find_logged_model, in its order.
ModelRow read_row(const db::Rows& rows) {
  ModelRow row;
  row.seq = rows.integer(0);
  row.model.id = rows.text(1);
  row.model.experiment = ExperimentId{rows.integer(2)};
  row.model.name = rows.text(3);
  row.model.type = rows.text(4);
  row.model.run_id = rows.text(5);
  row.model.status = read_status(rows.view(6));
  row.model.artifact_uri = rows.text(7);
  row.model.created_ms = rows.integer(8);
  row.model.updated_ms = rows.integer(9);
  row.model.deleted = !rows.is_null(10);
  return row;
}

Result<void> complete(db::Connection& connection, const Limits& limits, ModelRow& row) {
  auto tags = connection.query(sql::logged_model_tags, row.seq);
  if (!tags) return tags.error();
  while (tags->next()) row.model.tags[tags->text(0)] = tags->text(1);
  if (auto status = tags->status(); !status) return status;
  auto params = connection.query(sql::logged_model_params, row.seq);
  if (!params) return params.error();
  while (params->next()) row.model.params.push_back({params->text(0), params->text(1)});
  if (auto status = params->status(); !status) return status;
  auto metrics = connection.query(sql::logged_model_metrics, row.seq, limits.model_metrics);
  if (!metrics) return metrics.error();
  while (metrics->next()) {
    row.model.metrics.push_back(
        {.model_id = row.model.id,
         .run_id = metrics->text(3),
         .metric = {.key = metrics->text(0),
                    .value = from_storage(metrics->real(6), metrics->integer(7) != 0),
                    .timestamp_ms = metrics->integer(1),
                    .step = metrics->integer(2)},
         .dataset_name = metrics->text(4),
         .dataset_digest = metrics->text(5)});
  }
  return metrics->status();
}

Result<ModelRow> load(db::Connection& connection, const Limits& limits, const std::string& id,
                      bool also_deleted = false) {
  ModelRow row;
  {
    auto rows = connection.query(sql::find_logged_model, id);
    if (!rows) return rows.error();
    const bool found = rows->next();
    if (auto status = rows->status(); !status) return status.error();
    if (found) row = read_row(*rows);
    if (!found || (row.model.deleted && !also_deleted)) {
      return not_found(fmt::format("Logged model with ID '{}' not found", cut(id, 100)));
    }
  }
  if (auto completed = complete(connection, limits, row); !completed) return completed.error();
  return row;
}

Result<std::int64_t> find_seq(db::Connection& connection, const std::string& id) {
  auto rows = connection.query(sql::find_logged_model, id);
  if (!rows) return rows.error();
  if (rows->next() && rows->is_null(10)) return rows->integer(0);
  if (auto status = rows->status(); !status) return status.error();
  return not_found(fmt::format("Logged model with ID '{}' not found", cut(id, 100)));
}

Result<void> write_params(db::Transaction& tx, const Limits& limits, std::int64_t seq,
                          std::span<const Param> params) {
  for (const auto& [key, value] : params) {
    if (auto checked = check_key("param", key, limits.key_characters); !checked) return checked;
    auto put =
        tx.run(sql::insert_logged_model_param, seq, key, cut(value, limits.param_characters));
    if (!put) return put;
  }
  return {};
}

Result<void> write_tags(db::Transaction& tx, const Limits& limits, std::int64_t seq,
                        const Tags& tags) {
  for (const auto& [key, value] : tags) {
    if (auto checked = check_key("tag", key, limits.key_characters); !checked) return checked;
    auto put = tx.run(sql::upsert_logged_model_tag, seq, key, cut(value, limits.tag_characters));
    if (!put) return put;
  }
  return {};
}

struct Column {
  std::string_view name;
  std::string_view column;
  bool numeric;
};

Result<Column> find_column(const Name& name) {
  static constexpr Column kColumns[] = {
      {"name", "m.name", false},
      {"model_id", "m.id", false},
      {"model_type", "m.type", false},
      {"status", "m.status", false},
      {"source_run_id", "m.run_id", false},
      {"creation_timestamp", "m.created_ms", true},
      {"creation_time", "m.created_ms", true},
      {"last_updated_timestamp", "m.updated_ms", true},
  };
  if (name.scope.empty() || name.scope == "attributes") {
    for (const auto& column : kColumns) {
      if (column.name == name.key) return column;
    }
  }
  std::string known;
  for (const auto& column : kColumns) known += fmt::format("{}, ", column.name);
  return invalid_argument(fmt::format(
      "'{}' cannot be searched: logged models have {}metrics.<key>, params.<key> and tags.<key>",
      name.text(), known));
}

// " AND (dataset_name = ? … OR …)"; nothing for no dataset.
void add_datasets(SqlText& query, std::span<const LoggedModelSearch::Dataset> datasets) {
  std::string_view before = " AND (";
  for (const auto& [name, digest] : datasets) {
    query.add(before).add("(dataset_name = ?").bind(std::string_view(name));
    if (!digest.empty()) query.add(" AND dataset_digest = ?").bind(std::string_view(digest));
    query.add(")");
    before = " OR ";
  }
  if (!datasets.empty()) query.add(")");
}

Result<void> add_condition(SqlText& query, const Comparison& comparison,
                           std::span<const LoggedModelSearch::Dataset> datasets) {
  const auto& scope = comparison.name.scope;
  if (scope == "metrics") {
    query.add(" AND m.seq IN (SELECT model FROM logged_model_metrics WHERE key = ?")
        .bind(std::string_view(comparison.name.key))
        .add(" AND is_nan = 0 AND ");
    if (auto added = query.compare_number("value", comparison); !added) return added;
    add_datasets(query, datasets);
    query.add(")");
    return {};
  }
  if (scope == "tags" || scope == "params") {
    query.add(" AND m.seq IN (SELECT model FROM ")
        .add(scope == "tags" ? "logged_model_tags" : "logged_model_params")
        .add(" WHERE key = ?")
        .bind(std::string_view(comparison.name.key))
        .add(" AND ");
    if (auto added = query.compare_text("value", comparison); !added) return added;
    query.add(")");
    return {};
  }
  const auto column = find_column(comparison.name);
  if (!column) return column.error();
  query.add(" AND ");
  return column->numeric ? query.compare_number(column->column, comparison)
                         : query.compare_text(column->column, comparison);
}

// One ORDER BY term and the comma after it. A model without the metric, or with NaN, has NULL
// there, and comes last in either direction.
Result<void> add_order(SqlText& query, const LoggedModelSearch::Order& order) {
  const std::string_view direction = order.descending ? " DESC, " : ", ";
  const auto dot = order.field.find('.');
  if (dot == std::string::npos) {
    const auto column = find_column({.scope = {}, .key = order.field});
    if (!column) return column.error();
    query.add(column->column).add(direction);
    return {};
  }
  if (order.field.substr(0, dot) != "metrics") {
    return invalid_argument(fmt::format(
        "logged models are not ordered by '{}': an attribute or metrics.<key> is wanted",
        cut(order.field, 100)));
  }
  const std::string key = order.field.substr(dot + 1);
  const auto add_value = [&] {
    query
        .add(
            "(SELECT CASE WHEN is_nan = 0 THEN value END FROM logged_model_metrics WHERE model = "
            "m.seq AND key = ?")
        .bind(std::string_view(key));
    if (!order.dataset.name.empty()) add_datasets(query, {&order.dataset, 1});
    query.add(" ORDER BY timestamp_ms DESC, step DESC, run_id LIMIT 1)");
  };
  query.add("CASE WHEN ");
  add_value();
  query.add(" IS NULL THEN 1 ELSE 0 END, ");
  add_value();
  query.add(direction);
  return {};
}

}  // namespace

std::string_view stored(ModelStatus status) {
  for (const auto& row : kStatusNames) {
    if (row.status == status) return row.name;
  }
  return "PENDING";
}

Result<LoggedModel> Tracking::create_logged_model(const LoggedModelSpec& spec) {
  if (characters(spec.name) > kLongestName ||
      spec.name.find_first_of("/:.%\"'") != std::string::npos) {
    return invalid_argument(fmt::format(
        "Invalid model name ('{}') provided. Model name must be a string of at most {} characters "
        "that does not contain the following characters: / : . % \" '",
        cut(spec.name, 100), kLongestName));
  }
  const std::string id = "m-" + impl_->ids.next();
  const std::string name = spec.name.empty() ? name_from_id(id) : spec.name;
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<LoggedModel> {
    const auto experiment = load_experiment(tx, spec.experiment);
    if (!experiment) return experiment.error();
    if (experiment->deleted) {
      return failed_precondition(
          fmt::format("experiment {} is deleted: restore it first", spec.experiment.value));
    }
    auto inserted =
        tx.run(sql::insert_logged_model, id, spec.experiment.value, name, spec.type, spec.run_id,
               fmt::format("{}/models/{}/artifacts", experiment->artifact_location, id), now);
    if (!inserted) return inserted.error();
    const std::int64_t seq = tx.last_row_id();
    if (auto put = write_params(tx, impl_->limits, seq, spec.params); !put) return put.error();
    if (auto put = write_tags(tx, impl_->limits, seq, spec.tags); !put) return put.error();
    auto row = load(tx, impl_->limits, id);
    if (!row) return row.error();
    return std::move(row->model);
  });
}

Result<LoggedModel> Tracking::logged_model(const std::string& id, bool also_deleted) const {
  return impl_->db.read([&](db::Connection& c) -> Result<LoggedModel> {
    auto row = load(c, impl_->limits, id, also_deleted);
    if (!row) return row.error();
    return std::move(row->model);
  });
}

Result<LoggedModel> Tracking::finalize_logged_model(const std::string& id, ModelStatus status) {
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<LoggedModel> {
    auto row = load(tx, impl_->limits, id);
    if (!row) return row.error();
    auto set = tx.run(sql::set_logged_model_status, row->seq, stored(status), now);
    if (!set) return set.error();
    row->model.status = status;
    row->model.updated_ms = now;
    return std::move(row->model);
  });
}

Result<void> Tracking::delete_logged_model(const std::string& id) {
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load(tx, impl_->limits, id);
    if (!row) return row.error();
    return tx.run(sql::set_logged_model_deleted, row->seq, now);
  });
}

Result<LoggedModel> Tracking::set_logged_model_tags(const std::string& id, const Tags& tags) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<LoggedModel> {
    auto row = load(tx, impl_->limits, id);
    if (!row) return row.error();
    if (auto put = write_tags(tx, impl_->limits, row->seq, tags); !put) return put.error();
    row = load(tx, impl_->limits, id);
    if (!row) return row.error();
    return std::move(row->model);
  });
}

Result<void> Tracking::delete_logged_model_tag(const std::string& id, const std::string& key) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load(tx, impl_->limits, id);
    if (!row) return row.error();
    if (auto deleted = tx.run(sql::delete_logged_model_tag, row->seq, key); !deleted) {
      return deleted;
    }
    if (tx.changes() == 1) return {};
    return not_found(fmt::format("logged model '{}' has no tag '{}'", id, key));
  });
}

Result<void> Tracking::log_logged_model_params(const std::string& id,
                                               std::span<const Param> params) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load(tx, impl_->limits, id);
    if (!row) return row.error();
    return write_params(tx, impl_->limits, row->seq, params);
  });
}

Result<void> write_model_metrics(db::Transaction& tx, const Limits& limits, const RunId& run,
                                 std::span<const ModelMetric> metrics) {
  std::map<std::string, std::int64_t> models;
  for (const auto& [model_id, run_id, metric, dataset_name, dataset_digest] : metrics) {
    auto known = models.find(model_id);
    if (known == models.end()) {
      const auto seq = find_seq(tx, model_id);
      if (!seq) return seq.error();
      known = models.emplace(model_id, *seq).first;
    }
    auto checked = check_key("metric", metric.key, limits.key_characters);
    if (!checked) return checked;
    const bool is_nan = std::isnan(metric.value);
    auto put = tx.run(sql::insert_logged_model_metric, known->second, metric.key,
                      metric.timestamp_ms, metric.step, run.value, dataset_name, dataset_digest,
                      is_nan ? 0.0 : storable(metric.value), is_nan);
    if (!put) return put;
  }
  return {};
}

Result<void> Tracking::log_model_metrics(const RunId& run, std::span<const ModelMetric> metrics) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    if (const auto found = find_active_run(tx, run); !found) return found.error();
    return write_model_metrics(tx, impl_->limits, run, metrics);
  });
}

Result<Page<LoggedModel>> Tracking::search_logged_models(const LoggedModelSearch& search) const {
  if (auto checked = check_page_size(search.max_results, impl_->limits.page); !checked) {
    return checked.error();
  }
  std::vector<std::int64_t> experiments;
  for (const auto& id : search.experiments) experiments.push_back(id.value);
  const std::string list = json_list(experiments);
  std::string identity = fmt::format("logged models|{}|{}", list, search.filter);
  SqlText query;
  query
      .add(
          "SELECT seq, id, experiment_id, name, type, run_id, status, artifact_uri, created_ms, "
          "updated_ms, deleted_ms FROM logged_models m WHERE m.deleted_ms IS NULL AND "
          "m.experiment_id IN (SELECT value FROM json_each(?))")
      .bind(std::string_view(list));
  for (const auto& [name, digest] : search.datasets) {
    if (name.empty()) return invalid_argument("each of `datasets` needs a dataset_name");
    identity += fmt::format("|{}@{}", name, digest);
  }
  const auto filter = parse_filter(search.filter);
  if (!filter) return filter.error();
  for (const auto& comparison : *filter) {
    if (auto added = add_condition(query, comparison, search.datasets); !added) {
      return added.error();
    }
  }
  const bool on_metrics =
      std::ranges::any_of(*filter, [](const auto& c) { return c.name.scope == "metrics"; });
  if (!search.datasets.empty() && !on_metrics) {
    query.add(" AND m.seq IN (SELECT model FROM logged_model_metrics WHERE 1 = 1");
    add_datasets(query, search.datasets);
    query.add(")");
  }
  query.add(" ORDER BY ");
  for (const auto& order : search.order_by) {
    identity += fmt::format("|{} {} {}@{}", order.field, order.descending, order.dataset.name,
                            order.dataset.digest);
    if (auto added = add_order(query, order); !added) return added.error();
  }
  const auto offset = read_page_token(search.page, identity);
  if (!offset) return offset.error();
  query.add("m.created_ms DESC, m.id LIMIT ? OFFSET ?").bind(search.max_results + 1).bind(*offset);

  return impl_->db.read([&](db::Connection& c) -> Result<Page<LoggedModel>> {
    std::vector<ModelRow> found;
    {
      auto rows = query.run(c);
      if (!rows) return rows.error();
      while (rows->next()) found.push_back(read_row(*rows));
      if (auto status = rows->status(); !status) return status.error();
    }
    Page<LoggedModel> page;
    if (std::ssize(found) > search.max_results) {
      found.pop_back();
      page.next_page = make_page_token(*offset + search.max_results, identity);
    }
    for (auto& row : found) {
      if (auto completed = complete(c, impl_->limits, row); !completed) return completed.error();
      page.items.push_back(std::move(row.model));
    }
    return page;
  });
}

}  // namespace slipway::tracking
