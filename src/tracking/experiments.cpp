#include <unordered_map>

#include "tracking/migrations.h"
#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

Experiment read_experiment(const db::Rows& rows) {
  Experiment experiment;
  experiment.id = ExperimentId{rows.integer(0)};
  experiment.name = rows.text(1);
  experiment.artifact_location = rows.text(2);
  experiment.created_ms = rows.integer(3);
  experiment.updated_ms = rows.integer(4);
  experiment.deleted = !rows.is_null(5);
  return experiment;
}

Result<void> load_tags(db::Connection& connection, std::span<Experiment> experiments) {
  std::vector<std::int64_t> ids;
  std::unordered_map<std::int64_t, Experiment*> by_id;
  for (auto& experiment : experiments) {
    ids.push_back(experiment.id.value);
    by_id[experiment.id.value] = &experiment;
  }
  auto rows = connection.query(sql::experiment_tags, json_list(ids));
  if (!rows) return rows.error();
  while (rows->next()) by_id[rows->integer(0)]->tags[rows->text(1)] = rows->text(2);
  return rows->status();
}

Result<Experiment> find_by_name(db::Connection& connection, const std::string& name) {
  auto rows = connection.query(sql::find_experiment_by_name, name);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (auto status = rows->status(); !status) return status.error();
    return not_found(fmt::format("Could not find experiment with name '{}'", name));
  }
  Experiment experiment = read_experiment(*rows);
  if (auto tags = load_tags(connection, {&experiment, 1}); !tags) return tags.error();
  return experiment;
}

Result<void> check_experiment_name(std::string_view name, const Limits& limits) {
  if (name.empty()) return invalid_argument("Invalid experiment name: '' must not be empty");
  if (characters(name) > limits.experiment_name_characters) {
    return invalid_argument(fmt::format("Invalid experiment name: {} characters, at most {}",
                                        characters(name), limits.experiment_name_characters));
  }
  return {};
}

Result<void> check_free_name(db::Connection& connection, const std::string& name) {
  auto taken = find_by_name(connection, name);
  if (taken) {
    return already_exists(
        fmt::format("Experiment '{}' already exists{}", name,
                    taken->deleted ? " in deleted state: restore it, or choose another name" : ""));
  }
  if (taken.error().code != Code::not_found) return taken.error();
  return {};
}

// The location is a URI or path that clients open by themselves: what could lead them astray is
// refused.
Result<void> check_artifact_location(std::string_view location) {
  for (const char c : location) {
    if (static_cast<unsigned char>(c) < 0x20) {
      return invalid_argument("artifact_location holds a control character");
    }
  }
  if (location.find('#') != std::string_view::npos) {
    return invalid_argument(
        fmt::format("artifact_location '{}' must not have a fragment (#)", location));
  }
  if (location.find("..") != std::string_view::npos) {
    return invalid_argument(fmt::format("artifact_location '{}' must not hold '..'", location));
  }
  return {};
}

Result<void> check_experiment_tag(const std::string& key, const std::string& value,
                                  const Limits& limits) {
  if (auto checked = check_key("tag", key, limits.key_characters); !checked) return checked;
  if (characters(value) > limits.experiment_tag_characters) {
    return invalid_argument(fmt::format("tag '{}' has a value of {} characters, at most {}", key,
                                        characters(value), limits.experiment_tag_characters));
  }
  return {};
}

struct Column {
  std::string_view name;
  std::string_view column;
};
constexpr Column kColumns[] = {{"name", "e.name"},
                               {"creation_time", "e.created_ms"},
                               {"last_update_time", "e.updated_ms"},
                               {"experiment_id", "e.id"}};

Result<std::string_view> find_column(const Name& name) {
  const bool own = name.scope.empty() || name.scope == "attribute" || name.scope == "attributes" ||
                   name.scope == "attr";
  for (const auto& column : kColumns) {
    if (own && column.name == name.key) return column.column;
  }
  return invalid_argument(fmt::format(
      "'{}' cannot be searched: experiments have name, creation_time, last_update_time, "
      "experiment_id and tags.<key>",
      name.text()));
}

// Ids are texts on the wire, and compared as names are: = != IN NOT IN.
Result<void> compare_id(SqlText& query, const Comparison& comparison) {
  std::vector<std::string> texts;
  if (const auto* one = std::get_if<std::string>(&comparison.value)) {
    texts = {*one};
  } else if (const auto* many = std::get_if<std::vector<std::string>>(&comparison.value)) {
    texts = *many;
  }
  const bool negated = comparison.op == Op::ne || comparison.op == Op::not_in;
  const bool known = negated || comparison.op == Op::eq || comparison.op == Op::in;
  if (!known || texts.empty()) {
    return invalid_argument(
        fmt::format("filter, character {}: experiment_id takes =, !=, IN or NOT IN and quoted ids",
                    comparison.place));
  }
  std::vector<std::int64_t> ids;
  for (const auto& text : texts) {
    const auto id = ExperimentId::parse(text);
    if (!id) {
      return invalid_argument(
          fmt::format("filter, character {}: experiment_id '{}' is not a whole number",
                      comparison.place, cut(text, 100)));
    }
    ids.push_back(id->value);
  }
  query.add(negated ? "e.id NOT IN" : "e.id IN").add(" (SELECT value FROM json_each(?))");
  query.bind(std::string_view(json_list(ids)));
  return {};
}

Result<void> add_tag_condition(SqlText& query, const Comparison& comparison) {
  const bool presence = comparison.op == Op::is_null || comparison.op == Op::is_not_null;
  query.add(comparison.op == Op::is_null ? " AND NOT EXISTS (" : " AND EXISTS (");
  query.add("SELECT 1 FROM experiment_tags t WHERE t.experiment_id = e.id AND t.key = ?")
      .bind(std::string_view(comparison.name.key));
  if (!presence) {
    query.add(" AND ");
    if (auto added = query.compare_text("t.value", comparison); !added) return added;
  }
  query.add(")");
  return {};
}

Result<void> add_condition(SqlText& query, const Comparison& comparison) {
  if (comparison.name.scope == "tag" || comparison.name.scope == "tags") {
    return add_tag_condition(query, comparison);
  }
  const auto column = find_column(comparison.name);
  if (!column) return column.error();
  query.add(" AND ");
  if (*column == "e.id") return compare_id(query, comparison);
  return *column == "e.name" ? query.compare_text(*column, comparison)
                             : query.compare_number(*column, comparison);
}

}  // namespace

Result<Experiment> load_experiment(db::Connection& connection, ExperimentId id) {
  auto rows = connection.query(sql::find_experiment, id.value);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (auto status = rows->status(); !status) return status.error();
    return not_found(fmt::format("No Experiment with id={} exists", id.value));
  }
  Experiment experiment = read_experiment(*rows);
  if (auto tags = load_tags(connection, {&experiment, 1}); !tags) return tags.error();
  return experiment;
}

Tracking::Tracking(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tracking::~Tracking() = default;

Result<std::unique_ptr<Tracking>> Tracking::open(db::Database& db, const Clock& clock,
                                                 IdSource& ids, Limits limits) {
  if (auto migrated = db.migrate("tracking", kMigrations); !migrated) return migrated.error();
  auto impl = std::make_unique<Impl>(Impl{db, clock, ids, limits});
  const std::int64_t now = impl->now_ms();
  const auto has_default = db.read([](db::Connection& c) -> Result<bool> {
    const auto found = load_experiment(c, kDefaultExperiment);
    if (!found && found.error().code != Code::not_found) return found.error();
    return found.has_value();
  });
  if (!has_default) return has_default.error();
  if (!*has_default) {
    auto made = db.write([&](db::Transaction& tx) -> Result<void> {
      return tx.run(sql::insert_default_experiment, now);
    });
    if (!made) return made.error();
  }
  return std::unique_ptr<Tracking>(new Tracking(std::move(impl)));
}

Result<Experiment> Tracking::create_experiment(const std::string& name, const Tags& tags,
                                               const std::string& artifact_location) {
  if (auto checked = check_experiment_name(name, impl_->limits); !checked) return checked.error();
  if (auto checked = check_artifact_location(artifact_location); !checked) return checked.error();
  for (const auto& [key, value] : tags) {
    if (auto checked = check_experiment_tag(key, value, impl_->limits); !checked) {
      return checked.error();
    }
  }
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<Experiment> {
    if (auto free = check_free_name(tx, name); !free) return free.error();
    if (auto run = tx.run(sql::insert_experiment, name, artifact_location, now); !run) {
      return run.error();
    }
    const ExperimentId id{tx.last_row_id()};
    if (artifact_location.empty()) {
      auto set = tx.run(sql::set_artifact_location, id.value,
                        fmt::format("mlflow-artifacts:/{}", id.value));
      if (!set) return set.error();
    }
    for (const auto& [key, value] : tags) {
      if (auto run = tx.run(sql::upsert_experiment_tag, id.value, key, value); !run) {
        return run.error();
      }
    }
    return load_experiment(tx, id);
  });
}

Result<Experiment> Tracking::ensure_experiment(const std::string& name) {
  auto found = experiment_by_name(name);
  if (found || found.error().code != Code::not_found) return found;
  auto created = create_experiment(name);
  if (created || created.error().code != Code::already_exists) return created;
  return experiment_by_name(name);  // someone else was faster
}

Result<Experiment> Tracking::experiment(ExperimentId id) const {
  return impl_->db.read([&](db::Connection& c) { return load_experiment(c, id); });
}

Result<Experiment> Tracking::experiment_by_name(const std::string& name) const {
  return impl_->db.read([&](db::Connection& c) { return find_by_name(c, name); });
}

Result<Page<Experiment>> Tracking::search_experiments(const ExperimentSearch& search) const {
  if (auto checked = check_page_size(search.max_results, impl_->limits.page); !checked) {
    return checked.error();
  }
  const auto filter = parse_filter(search.filter);
  if (!filter) return filter.error();
  std::string identity = fmt::format("experiments|{}|{}", search.filter, int(search.view));
  SqlText query;
  query.add(
      "SELECT e.id, e.name, e.artifact_location, e.created_ms, e.updated_ms, e.deleted_ms "
      "FROM experiments e WHERE ");
  query.add(search.view == View::active_only    ? "e.deleted_ms IS NULL"
            : search.view == View::deleted_only ? "e.deleted_ms IS NOT NULL"
                                                : "1 = 1");
  for (const auto& comparison : *filter) {
    if (auto added = add_condition(query, comparison); !added) return added.error();
  }
  if (search.only) {
    Json ids = Json::array();
    for (const auto& text : *search.only) {
      if (const auto id = ExperimentId::parse(text)) ids.push_back(id->value);
    }
    query.add(" AND e.id IN (SELECT value FROM json_each(?))").bind(std::string_view(ids.dump()));
  }
  query.add(" ORDER BY ");
  bool by_id = false;
  for (const auto& text : search.order_by) {
    identity += "|" + text;
    const auto order = parse_order(text);
    if (!order) return order.error();
    const auto column = find_column(order->name);
    if (!column) return column.error();
    by_id = by_id || *column == "e.id";
    query.add(*column).add(order->descending ? " DESC, " : ", ");
  }
  const auto offset = read_page_token(search.page, identity);
  if (!offset) return offset.error();
  query.add(search.order_by.empty() ? "e.created_ms DESC, e.id" : by_id ? "e.id" : "e.id DESC");
  query.add(" LIMIT ? OFFSET ?").bind(search.max_results + 1).bind(*offset);

  return impl_->db.read([&](db::Connection& c) -> Result<Page<Experiment>> {
    auto rows = query.run(c);
    if (!rows) return rows.error();
    Page<Experiment> page;
    while (rows->next()) page.items.push_back(read_experiment(*rows));
    if (auto status = rows->status(); !status) return status.error();
    if (std::ssize(page.items) > search.max_results) {
      page.items.pop_back();
      page.next_page = make_page_token(*offset + search.max_results, identity);
    }
    if (auto tags = load_tags(c, page.items); !tags) return tags.error();
    return page;
  });
}

Result<void> Tracking::rename_experiment(ExperimentId id, const std::string& name) {
  if (auto checked = check_experiment_name(name, impl_->limits); !checked) return checked;
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto experiment = load_experiment(tx, id);
    if (!experiment) return experiment.error();
    if (experiment->deleted) {
      return failed_precondition(
          fmt::format("experiment {} is deleted: restore it before renaming it", id.value));
    }
    if (experiment->name == name) return {};
    if (auto free = check_free_name(tx, name); !free) return free;
    return tx.run(sql::rename_experiment, id.value, name, now);
  });
}

Result<void> Tracking::delete_experiment(ExperimentId id) {
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto experiment = load_experiment(tx, id);
    if (!experiment) return experiment.error();
    if (experiment->deleted) {
      return not_found(fmt::format("experiment {} is deleted already", id.value));
    }
    if (auto run = tx.run(sql::mark_experiment_deleted, id.value, now); !run) return run;
    return tx.run(sql::mark_runs_deleted_with_experiment, id.value, now);
  });
}

Result<void> Tracking::restore_experiment(ExperimentId id) {
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    auto rows = tx.query(sql::find_experiment, id.value);
    if (!rows) return rows.error();
    if (!rows->next() || rows->is_null(5)) {
      return not_found(fmt::format("no deleted experiment has id {}", id.value));
    }
    const std::int64_t deleted_ms = rows->integer(5);
    if (auto run = tx.run(sql::mark_experiment_restored, id.value, now); !run) return run;
    return tx.run(sql::mark_runs_restored_with_experiment, id.value, deleted_ms);
  });
}

Result<void> Tracking::set_experiment_tag(ExperimentId id, const std::string& key,
                                          const std::string& value) {
  if (auto checked = check_experiment_tag(key, value, impl_->limits); !checked) return checked;
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto experiment = load_experiment(tx, id);
    if (!experiment) return experiment.error();
    if (experiment->deleted) {
      return failed_precondition(
          fmt::format("experiment {} is deleted: restore it before tagging it", id.value));
    }
    return tx.run(sql::upsert_experiment_tag, id.value, key, value);
  });
}

Result<void> Tracking::delete_experiment_tag(ExperimentId id, const std::string& key) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto experiment = load_experiment(tx, id);
    if (!experiment) return experiment.error();
    if (!experiment->tags.contains(key)) {
      return not_found(fmt::format("experiment {} has no tag '{}'", id.value, key));
    }
    return tx.run(sql::delete_experiment_tag, id.value, key);
  });
}

}  // namespace slipway::tracking
