#include <unordered_map>

#include "base/json.h"
#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

bool is_later(const Metric& a, const Metric& b) {
  return std::tuple(a.step, a.timestamp_ms, storable(a.value)) >
         std::tuple(b.step, b.timestamp_ms, storable(b.value));
}

Result<void> write_metrics(db::Transaction& tx, std::int64_t seq, std::span<const Metric> metrics) {
  std::unordered_map<std::string_view, const Metric*> latest;
  for (const auto& metric : metrics) {
    auto inserted = tx.run(sql::insert_metric, seq, metric.key, storable(metric.value),
                           std::isnan(metric.value), metric.step, metric.timestamp_ms);
    if (!inserted) return inserted;
    auto [at, is_new] = latest.try_emplace(metric.key, &metric);
    if (!is_new && is_later(metric, *at->second)) at->second = &metric;
  }
  for (const auto& [key, metric] : latest) {
    auto updated = tx.run(sql::upsert_latest_metric, seq, key, storable(metric->value),
                          std::isnan(metric->value), metric->step, metric->timestamp_ms);
    if (!updated) return updated;
  }
  return {};
}

Result<void> write_param(db::Transaction& tx, const Limits& limits, std::int64_t seq,
                         const RunId& run, const std::string& key, const std::string& long_value) {
  const std::string value = cut(long_value, limits.param_characters);
  if (auto inserted = tx.run(sql::insert_param, seq, key, value); !inserted) return inserted;
  if (tx.changes() == 1) return {};
  auto rows = tx.query(sql::find_param, seq, key);
  if (!rows) return rows.error();
  if (!rows->next()) return internal(fmt::format("param '{}' vanished", key));
  if (rows->view(0) == value) return {};
  // failed_precondition, not already_exists: MLflow clients expect INVALID_PARAMETER_VALUE here.
  return failed_precondition(
      fmt::format("Changing param values is not allowed. Param with key='{}' was already logged "
                  "with value='{}' for run ID='{}'. Attempted logging new value '{}'.",
                  key, cut(rows->view(0), 200), run.value, cut(value, 200)));
}

Result<void> check_count(std::string_view what, std::size_t count, std::size_t most) {
  if (count <= most) return {};
  return invalid_argument(
      fmt::format("A batch logging request can contain at most {} {}. Got {} {}. Please split up "
                  "{} across multiple requests and try again.",
                  most, what, count, what, what));
}

Result<void> check_batch(const Batch& batch, const Limits& limits) {
  const std::size_t total = batch.metrics.size() + batch.params.size() + batch.tags.size();
  for (const auto& checked :
       {check_count("metrics", batch.metrics.size(), limits.batch_metrics),
        check_count("params", batch.params.size(), limits.batch_params),
        check_count("tags", batch.tags.size(), limits.batch_tags),
        check_count("metrics, params, and tags", total, limits.batch_total)}) {
    if (!checked) return checked;
  }
  for (const auto& metric : batch.metrics) {
    if (auto checked = check_key("metric", metric.key, limits.key_characters); !checked) {
      return checked;
    }
  }
  for (const auto& param : batch.params) {
    if (auto checked = check_key("param", param.key, limits.key_characters); !checked) {
      return checked;
    }
  }
  return {};  // tags: see write_tag
}

Result<void> write_model_links(db::Transaction& tx, std::int64_t seq, std::string_view direction,
                               std::span<const ModelLink> models) {
  for (const auto& model : models) {
    if (model.model_id.empty()) return invalid_argument("model_id is empty");
    auto linked = tx.run(sql::upsert_model_link, seq, direction, model.model_id, model.step);
    if (!linked) return linked;
  }
  return {};
}

// MLflow's limits of a dataset's fields, in characters.
Result<void> check_dataset(const DatasetInput& dataset) {
  struct Field {
    std::string_view name;
    const std::string& value;
    std::size_t most;
    bool required;
  };
  for (const Field& field :
       {Field{"name", dataset.name, 500, true}, Field{"digest", dataset.digest, 64, true},
        Field{"source", dataset.source, 65'535, false},
        Field{"schema", dataset.schema, 1'048'575, false},
        Field{"profile", dataset.profile, 16'777'215, false}}) {
    if (field.required && field.value.empty()) {
      return invalid_argument(fmt::format("a dataset's {} is empty", field.name));
    }
    if (characters(field.value) > field.most) {
      return invalid_argument(fmt::format("dataset '{}': {} has {} characters, at most {}",
                                          cut(dataset.name, 100), field.name,
                                          characters(field.value), field.most));
    }
  }
  for (const auto& [key, value] : dataset.tags) {
    if (key.empty() || characters(key) > 255 || characters(value) > 500) {
      return invalid_argument(
          fmt::format("dataset '{}': tag '{}' needs a key of 1 to 255 and a value of at most 500 "
                      "characters",
                      dataset.name, cut(key, 100)));
    }
  }
  return {};
}

}  // namespace

Result<void> write_tag(db::Transaction& tx, const Limits& limits, std::int64_t seq,
                       const std::string& key, const std::string& value) {
  if (auto checked = check_key("tag", key, limits.key_characters); !checked) return checked;
  return tx.run(sql::upsert_tag, seq, key, cut(value, limits.tag_characters));
}

Result<void> Tracking::log_metric(const RunId& id, const Metric& metric) {
  return log_batch(id, {.metrics = {metric}});
}

Result<void> Tracking::log_param(const RunId& id, const std::string& key,
                                 const std::string& value) {
  return log_batch(id, {.params = {{key, value}}});
}

Result<void> Tracking::set_tag(const RunId& id, const std::string& key, const std::string& value) {
  return log_batch(id, {.tags = {{key, value}}});
}

Result<void> Tracking::log_batch(const RunId& id, const Batch& batch) {
  if (auto checked = check_batch(batch, impl_->limits); !checked) return checked;
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = find_active_run(tx, id);
    if (!row) return row.error();
    for (const auto& [key, value] : batch.params) {
      if (auto put = write_param(tx, impl_->limits, row->seq, id, key, value); !put) return put;
    }
    for (const auto& [key, value] : batch.tags) {
      if (auto put = write_tag(tx, impl_->limits, row->seq, key, value); !put) return put;
      if (key == kRunNameTag) {  // the name of the run is that tag
        auto named = tx.run(sql::update_run, row->seq, nullptr, nullptr, value);
        if (!named) return named;
      }
    }
    return write_metrics(tx, row->seq, batch.metrics);
  });
}

Result<void> Tracking::delete_tag(const RunId& id, const std::string& key) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = find_active_run(tx, id);
    if (!row) return row.error();
    if (auto deleted = tx.run(sql::delete_tag, row->seq, key); !deleted) return deleted;
    if (tx.changes() == 1) return {};
    return not_found(fmt::format("No tag with name: {} in run with id {}", key, id.value));
  });
}

Result<void> Tracking::log_inputs(const RunId& id, std::span<const DatasetInput> datasets,
                                  std::span<const ModelLink> models) {
  if (auto counted = check_count("datasets", datasets.size(), impl_->limits.batch_datasets);
      !counted) {
    return counted;
  }
  for (const auto& dataset : datasets) {
    if (auto checked = check_dataset(dataset); !checked) return checked;
  }
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = find_active_run(tx, id);
    if (!row) return row.error();
    for (const auto& dataset : datasets) {
      const auto context = dataset.tags.find(std::string(kDataContextTag));
      auto put = tx.run(sql::upsert_input, row->seq, dataset.name, dataset.digest,
                        dataset.source_type, dataset.source, dataset.schema, dataset.profile,
                        context == dataset.tags.end() ? std::string() : context->second,
                        Json(dataset.tags).dump(-1, ' ', false, Json::error_handler_t::replace));
      if (!put) return put;
    }
    return write_model_links(tx, row->seq, "input", models);
  });
}

Result<void> Tracking::log_outputs(const RunId& id, std::span<const ModelLink> models) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = find_active_run(tx, id);
    if (!row) return row.error();
    return write_model_links(tx, row->seq, "output", models);
  });
}

Result<void> Tracking::record_model(const RunId& id, const Json& description) {
  const std::string key(kLoggedModelsTag);
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = find_active_run(tx, id);
    if (!row) return row.error();
    Json history = Json::array();
    {
      auto rows = tx.query(sql::find_tag, row->seq, key);
      if (!rows) return rows.error();
      if (rows->next()) history = Json::parse(rows->view(0), nullptr, false);
      if (!history.is_array()) history = Json::array();
    }
    history.push_back(description);
    // Not cut like other tags: half a JSON text would be lost to every reader.
    return tx.run(sql::upsert_tag, row->seq, key, canonical(history));
  });
}

Result<Page<Metric>> Tracking::metric_history(const RunId& id, const std::string& key,
                                              std::int64_t max_results,
                                              const std::string& page) const {
  if (max_results < 0) {
    return invalid_argument(fmt::format("max_results is {}, must not be negative", max_results));
  }
  const std::string identity = fmt::format("history|{}|{}", id.value, key);
  const auto offset = read_page_token(page, identity);
  if (!offset) return offset.error();
  return impl_->db.read([&](db::Connection& c) -> Result<Page<Metric>> {
    const auto row = find_run(c, id);
    if (!row) return row.error();
    const std::int64_t limit = max_results == 0 ? -1 : max_results + 1;
    auto rows = c.query(sql::metric_history, row->seq, key, limit, *offset);
    if (!rows) return rows.error();
    Page<Metric> history;
    while (rows->next()) {
      history.items.push_back({.key = key,
                               .value = from_storage(rows->real(0), rows->integer(1) != 0),
                               .timestamp_ms = rows->integer(3),
                               .step = rows->integer(2)});
    }
    if (auto status = rows->status(); !status) return status.error();
    if (max_results > 0 && std::ssize(history.items) > max_results) {
      history.items.pop_back();
      history.next_page = make_page_token(*offset + max_results, identity);
    }
    return history;
  });
}

}  // namespace slipway::tracking
