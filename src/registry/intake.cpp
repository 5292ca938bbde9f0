#include "registry/intake.h"

#include "registry/queries.h"
#include "registry/registry_internal.h"

namespace slipway::registry {

Result<bool> Intake::put_model(const Context& ctx, const RegisteredModel& model) {
  return db_.write([&](db::Transaction& tx) -> Result<bool> {
    auto row = load_model(tx, model.name);
    const bool is_new = !row;
    if (is_new) {
      if (row.error().code != Code::not_found) return row.error();
      auto inserted =
          tx.run(sql::insert_model, model.name, model.description, to_micros(model.created));
      if (!inserted) return inserted.error();
      row = load_model(tx, model.name);
      if (!row) return row.error();
      auto entry = audit_.append(tx, {.actor = ctx.principal.name,
                                      .action = "model.import",
                                      .object = model_object(model.name),
                                      .details = {{"created", format_time(model.created)}}});
      if (!entry) return entry.error();
    } else if (auto set = tx.run(sql::describe_model, row->id, model.description,
                                 to_micros(model.updated));
               !set) {
      return set.error();
    }
    for (const auto& [key, value] : model.tags) {
      if (auto set = tx.run(sql::upsert_model_tag, row->id, key, value); !set) return set.error();
    }
    return is_new;
  });
}

Result<void> Intake::put_version(const Context& ctx, const ModelVersion& version) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    const auto model = load_model(tx, version.model);
    if (!model) return model.error();
    auto row = load_version(tx, version.model, version.number);
    std::int64_t id = 0;
    if (row) {
      if (row->version.source != version.source || row->version.run_id != version.run_id) {
        return already_exists(fmt::format(
            "model '{}' has a version {} already, made from '{}', and the one to import "
            "is made from '{}': rename one of the two models",
            version.model, version.number, row->version.source, version.source));
      }
      id = row->id;
    } else {
      if (row.error().code != Code::not_found) return row.error();
      auto inserted = tx.run(sql::insert_version, model->id, version.number, version.source,
                             version.run_id, version.model_id, version.digest, version.description,
                             version.user, canonical(version.metadata), to_micros(version.created),
                             version.storage, version.run_link);
      if (!inserted) return inserted;
      id = tx.last_row_id();
      auto entry = audit_.append(tx, {.actor = ctx.principal.name,
                                      .action = "version.import",
                                      .object = version_object(version.model, version.number),
                                      .digest = version.digest,
                                      .details = {{"run_id", version.run_id},
                                                  {"source", version.source},
                                                  {"created", format_time(version.created)}}});
      if (!entry) return entry.error();
    }
    for (const auto& [key, value] : version.tags) {
      if (auto set = tx.run(sql::upsert_version_tag, id, key, value); !set) return set;
    }
    if (auto raised = tx.run(sql::raise_next_version, model->id, version.number + 1); !raised)
      return raised;
    return tx.run(sql::intake_version, id, version.description, version.status, version.stage,
                  to_micros(version.updated));
  });
}

Result<void> Intake::settle_model(const RegisteredModel& model) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_model(tx, model.name);
    if (!row) return row.error();
    return tx.run(sql::touch_model, row->id, to_micros(model.updated));
  });
}

}  // namespace slipway::registry
