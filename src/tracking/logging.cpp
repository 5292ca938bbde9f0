#include <unordered_set>

#include "base/json.h"
#include "tracking/metric_store_internal.h"
#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

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
  const std::string* checked_key = nullptr;  // batches repeat their keys
  for (const auto& metric : batch.metrics) {
    if (metric.timestamp_ms < 0) {
      return invalid_argument(
          fmt::format("metric '{}' has the timestamp {}: it must not be negative",
                      cut(metric.key, 250), metric.timestamp_ms));
    }
    if (checked_key != nullptr && *checked_key == metric.key) continue;
    if (auto checked = check_key("metric", metric.key, limits.key_characters); !checked) {
      return checked;
    }
    checked_key = &metric.key;
  }
  std::unordered_set<std::string_view> param_keys;
  for (const auto& param : batch.params) {
    if (auto checked = check_key("param", param.key, limits.key_characters); !checked) {
      return checked;
    }
    if (!param_keys.insert(param.key).second) {
      return invalid_argument(fmt::format(
          "Duplicate parameter keys have been submitted: '{}'. Please ensure the request contains "
          "only one param value per param key.",
          param.key));
    }
  }
  return {};  // tags: see write_tag
}

Result<void> write_batch(db::Transaction& tx, const Limits& limits, const RunId& id,
                         const Batch& batch) {
  const auto row = find_active_run(tx, id);
  if (!row) return row.error();
  for (const auto& [key, value] : batch.params) {
    if (auto put = write_param(tx, limits, row->seq, id, key, value); !put) return put;
  }
  for (const auto& [key, value] : batch.tags) {
    if (auto put = write_tag(tx, limits, row->seq, key, value); !put) return put;
    if (key == kRunNameTag) {  // the name of the run is that tag
      auto named = tx.run(sql::update_run, row->seq, nullptr, nullptr, value);
      if (!named) return named;
    }
  }
  if (auto put = write_metrics(tx, row->seq, batch.metrics); !put) return put;
  return write_model_metrics(tx, limits, id, batch.model_metrics);
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
  return impl_->db.write(
      [&](db::Transaction& tx) { return write_batch(tx, impl_->limits, id, batch); });
}

void Tracking::log_batch_async(RunId id, Batch batch, std::function<void(Result<void>)> done) {
  if (auto checked = check_batch(batch, impl_->limits); !checked) return done(checked);
  impl_->db.write_async([limits = &impl_->limits, id = std::move(id), batch = std::move(batch)](
                            db::Transaction& tx) { return write_batch(tx, *limits, id, batch); },
                        std::move(done));
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

}  // namespace slipway::tracking
