#include "blob/store.h"
#include "registry/queries.h"
#include "registry/registry_internal.h"

namespace slipway::registry {

VersionRow read_version(const db::Rows& rows) {
  VersionRow row;
  row.id = rows.integer(0);
  row.model_id = rows.integer(1);
  row.version.model = rows.text(2);
  row.version.number = rows.integer(3);
  row.version.source = rows.text(4);
  row.version.run_id = rows.text(5);
  row.version.model_id = rows.text(6);
  row.version.digest = rows.text(7);
  row.version.description = rows.text(8);
  row.version.status = rows.text(9);
  row.version.stage = rows.text(10);
  row.version.user = rows.text(11);
  row.version.metadata = Json::parse(rows.view(12), nullptr, false);
  row.version.created = from_micros(rows.integer(13));
  row.version.updated = from_micros(rows.integer(14));
  row.version.storage = rows.text(15);
  row.version.run_link = rows.text(16);
  return row;
}

Result<void> complete(db::Connection& connection, VersionRow& row) {
  auto tags = connection.query(sql::version_tags, row.id);
  if (!tags) return tags.error();
  while (tags->next()) row.version.tags[tags->text(0)] = tags->text(1);
  if (auto status = tags->status(); !status) return status;
  auto aliases = connection.query(sql::version_aliases, row.model_id, row.version.number);
  if (!aliases) return aliases.error();
  while (aliases->next()) row.version.aliases.push_back(aliases->text(0));
  return aliases->status();
}

namespace {

// The one row of a statement that finds a version, whole; `missing` is the error when there is
// none.
template <class... Args>
Result<VersionRow> load_one(db::Connection& connection, const Error& missing,
                            std::string_view statement, const Args&... args) {
  VersionRow row;
  {
    auto rows = connection.query(statement, args...);
    if (!rows) return rows.error();
    if (!rows->next()) {
      if (auto status = rows->status(); !status) return status.error();
      return missing;
    }
    row = read_version(*rows);
  }
  if (auto completed = complete(connection, row); !completed) return completed.error();
  return row;
}

// Every row of a statement that lists versions of one model.
Result<std::vector<ModelVersion>> load_all(db::Connection& connection, std::string_view statement,
                                           const std::string& model) {
  if (const auto row = load_model(connection, model); !row) return row.error();
  std::vector<VersionRow> found;
  {
    auto rows = connection.query(statement, model);
    if (!rows) return rows.error();
    while (rows->next()) found.push_back(read_version(*rows));
    if (auto status = rows->status(); !status) return status.error();
  }
  std::vector<ModelVersion> versions;
  for (auto& row : found) {
    if (auto completed = complete(connection, row); !completed) return completed.error();
    versions.push_back(std::move(row.version));
  }
  return versions;
}

Result<ModelVersion> just_the_version(Result<VersionRow> row) {
  if (!row) return row.error();
  return std::move(row->version);
}

Result<void> check_spec(const VersionSpec& spec, std::span<const std::string> allowed_sources) {
  if (auto checked = check_source(spec, allowed_sources); !checked) return checked;
  if (!spec.digest.empty() && !blob::is_digest(spec.digest)) {
    return invalid_argument(
        fmt::format("digest '{}' is not 64 lower-case hexadecimal characters", spec.digest));
  }
  if (!spec.metadata.is_object()) {
    return invalid_argument("the metadata of a model version must be a JSON object");
  }
  for (const auto& [key, value] : spec.tags) {
    if (auto checked = check_tag(key, value); !checked) return checked;
  }
  return {};
}

// What webhooks hear of a new version, as MLflow tells it: a prompt's template stands apart from
// its tags, and the tags that mark a prompt are left out.
Json version_news(const std::string& model, std::int64_t number, const VersionSpec& spec) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
  };
  Json data = {{"name", model},
               {"version", std::to_string(number)},
               {"tags", spec.tags},
               {"description", or_null(spec.description)}};
  if (!is_prompt(spec.tags)) {
    data["source"] = spec.source;
    data["run_id"] = or_null(spec.run_id);
    return data;
  }
  for (const auto key : {kPromptTag, kPromptTypeTag, kPromptTextTag}) {
    data["tags"].erase(std::string(key));
  }
  const auto text = spec.tags.find(std::string(kPromptTextTag));
  data["template"] = text == spec.tags.end() ? Json(nullptr) : Json(text->second);
  return data;
}

std::string as_stage(std::string_view stage) {
  std::string low(stage);
  std::ranges::transform(low, low.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const std::string_view known : {"None", "Staging", "Production", "Archived"}) {
    if (std::ranges::equal(known, low, {}, [](unsigned char c) { return std::tolower(c); })) {
      return std::string(known);
    }
  }
  return {};
}

}  // namespace

Result<VersionRow> load_version(db::Connection& connection, const std::string& model,
                                std::int64_t number) {
  return load_one(
      connection,
      not_found(fmt::format("Model Version (name={}, version={}) not found", model, number)),
      sql::find_version, model, number);
}

Result<ModelVersion> Registry::create_version(const Context& ctx, const std::string& model,
                                              const VersionSpec& spec) {
  if (auto checked = check_spec(spec, impl_->allowed_sources); !checked) return checked.error();
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<ModelVersion> {
    const auto row = load_model(tx, model);
    if (!row) return row.error();
    if (auto taken = tx.run(sql::take_number, row->id, now); !taken) return taken.error();
    std::int64_t number = 0;
    {
      auto rows = tx.query(sql::taken_number, row->id);
      if (!rows) return rows.error();
      if (!rows->next()) return internal(fmt::format("model '{}' vanished", model));
      number = rows->integer(0);
    }
    auto inserted = tx.run(sql::insert_version, row->id, number, spec.source, spec.run_id,
                           spec.model_id, spec.digest, spec.description, ctx.principal.name,
                           canonical(spec.metadata), now, spec.storage, spec.run_link);
    if (!inserted) return inserted.error();
    const std::int64_t id = tx.last_row_id();
    for (const auto& [key, value] : spec.tags) {
      if (auto run = tx.run(sql::upsert_version_tag, id, key, value); !run) return run.error();
    }
    auto recorded = impl_->record(tx, ctx, "version.create", version_object(model, number),
                                  {{"run_id", spec.run_id}, {"source", spec.source}}, spec.digest);
    if (!recorded) return recorded.error();
    auto published = impl_->publish(tx, "model_version", "created", is_prompt(spec.tags),
                                    version_news(model, number, spec));
    if (!published) return published.error();
    return just_the_version(load_version(tx, model, number));
  });
}

Result<ModelVersion> Registry::version(const std::string& model, std::int64_t number) const {
  return impl_->db.read(
      [&](db::Connection& c) { return just_the_version(load_version(c, model, number)); });
}

Result<ModelVersion> Registry::latest_version(const std::string& model) const {
  return impl_->db.read([&](db::Connection& c) {
    return just_the_version(
        load_one(c, not_found(fmt::format("Registered Model with name={} has no version", model)),
                 sql::find_latest, model));
  });
}

Result<ModelVersion> Registry::find_by_alias(const std::string& model,
                                             const std::string& alias) const {
  return impl_->db.read([&](db::Connection& c) -> Result<ModelVersion> {
    auto found = load_one(
        c, not_found(fmt::format("Registered model alias {} not found for model {}", alias, model)),
        sql::find_by_alias, model, alias);
    if (found || found.error().code != Code::not_found) return just_the_version(std::move(found));
    if (const auto row = load_model(c, model); !row)
      return row.error();  // which of the two is missing
    return found.error();
  });
}

Result<std::vector<ModelVersion>> Registry::versions(const std::string& model) const {
  return impl_->db.read(
      [&](db::Connection& c) { return load_all(c, sql::versions_of_model, model); });
}

Result<std::vector<ModelVersion>> Registry::latest_by_stage(const std::string& model) const {
  return impl_->db.read(
      [&](db::Connection& c) { return load_all(c, sql::latest_by_stage, model); });
}

Result<ModelVersion> Registry::describe_version(const Context& ctx, const std::string& model,
                                                std::int64_t number,
                                                const std::string& description) {
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<ModelVersion> {
    const auto row = load_version(tx, model, number);
    if (!row) return row.error();
    auto updated = tx.run(sql::describe_version, row->id, description, now);
    if (!updated) return updated.error();
    auto recorded =
        impl_->record(tx, ctx, "version.describe", version_object(model, number), Json::object());
    if (!recorded) return recorded.error();
    return just_the_version(load_version(tx, model, number));
  });
}

Result<ModelVersion> Registry::set_stage(const Context& ctx, const std::string& model,
                                         std::int64_t number, const std::string& stage,
                                         bool archive_others) {
  const std::string known = as_stage(stage);
  if (known.empty()) {
    return invalid_argument(fmt::format(
        "Invalid Model Version stage: {}. Value must be one of None, Staging, Production, Archived",
        stage));
  }
  if (archive_others && (known == "None" || known == "Archived")) {
    return invalid_argument(fmt::format(
        "archive_existing_versions does not go with stage {}: only with Staging and Production",
        known));
  }
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<ModelVersion> {
    const auto row = load_version(tx, model, number);
    if (!row) return row.error();
    if (archive_others) {
      auto archived = tx.run(sql::archive_others, row->model_id, known, row->id, now);
      if (!archived) return archived.error();
    }
    if (auto set = tx.run(sql::stage_version, row->id, known, now); !set) return set.error();
    auto recorded = impl_->record(tx, ctx, "version.stage", version_object(model, number),
                                  {{"from", row->version.stage}, {"to", known}});
    if (!recorded) return recorded.error();
    return just_the_version(load_version(tx, model, number));
  });
}

Result<void> Registry::delete_version(const Context& ctx, const std::string& model,
                                      std::int64_t number) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_version(tx, model, number);
    if (!row) return row.error();
    // A deployment answers with what an alias points at: the pointer goes first, and on purpose.
    if (!row->version.aliases.empty()) {
      return failed_precondition(fmt::format(
          "Model Version (name={}, version={}) has the aliases {}: delete or move them first",
          model, number, fmt::join(row->version.aliases, ", ")));
    }
    if (auto run = tx.run(sql::delete_version, row->id); !run) return run;
    return impl_->record(tx, ctx, "version.delete", version_object(model, number), Json::object(),
                         row->version.digest);
  });
}

Result<void> Registry::set_version_tag(const std::string& model, std::int64_t number,
                                       const std::string& key, const std::string& value) {
  if (auto checked = check_tag(key, value); !checked) return checked;
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_version(tx, model, number);
    if (!row) return row.error();
    if (auto run = tx.run(sql::upsert_version_tag, row->id, key, value); !run) return run;
    if (auto run = tx.run(sql::touch_version, row->id, now); !run) return run;
    const auto owner = load_model(tx, model);
    if (!owner) return owner.error();
    return impl_->publish(
        tx, "model_version_tag", "set", is_prompt(owner->model.tags),
        {{"name", model}, {"version", std::to_string(number)}, {"key", key}, {"value", value}});
  });
}

Result<void> Registry::delete_version_tag(const std::string& model, std::int64_t number,
                                          const std::string& key) {
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_version(tx, model, number);
    if (!row) return row.error();
    if (auto run = tx.run(sql::delete_version_tag, row->id, key); !run) return run;
    if (auto run = tx.run(sql::touch_version, row->id, now); !run) return run;
    const auto owner = load_model(tx, model);
    if (!owner) return owner.error();
    return impl_->publish(tx, "model_version_tag", "deleted", is_prompt(owner->model.tags),
                          {{"name", model}, {"version", std::to_string(number)}, {"key", key}});
  });
}

}  // namespace slipway::registry
