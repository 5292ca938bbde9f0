#include "registry/queries.h"
#include "registry/registry_internal.h"

namespace slipway::registry {
namespace {

Result<std::optional<std::int64_t>> find_alias(db::Connection& connection, std::int64_t model_id,
                                               const std::string& alias) {
  auto rows = connection.query(sql::find_alias, model_id, alias);
  if (!rows) return rows.error();
  std::optional<std::int64_t> number;
  if (rows->next()) number = rows->integer(0);
  if (auto status = rows->status(); !status) return status.error();
  return number;
}

Json or_null(const std::optional<std::int64_t>& number) {
  return number ? Json(*number) : Json(nullptr);
}

Result<std::vector<AliasMove>> read_moves(db::Rows& rows, const std::string& model) {
  std::vector<AliasMove> moves;
  while (rows.next()) {
    moves.push_back({.model = model,
                     .alias = rows.text(0),
                     .from = rows.maybe_integer(1),
                     .to = rows.maybe_integer(2),
                     .at = from_micros(rows.integer(3)),
                     .actor = rows.text(4),
                     .reason = rows.text(5)});
  }
  if (auto status = rows.status(); !status) return status.error();
  return moves;
}

}  // namespace

Result<void> Registry::set_alias(const Context& ctx, const std::string& model,
                                 const std::string& alias, std::int64_t version,
                                 const std::string& reason) {
  if (auto checked = check_alias(alias); !checked) return checked;
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_version(tx, model, version);
    if (!row) return row.error();
    const auto from = find_alias(tx, row->model_id, alias);
    if (!from) return from.error();
    if (*from == version) return {};
    if (auto run = tx.run(sql::upsert_alias, row->model_id, alias, version); !run) return run;
    auto moved = tx.run(sql::insert_move, row->model_id, alias, *from, version, now,
                        ctx.principal.name, reason);
    if (!moved) return moved;
    if (auto run = tx.run(sql::touch_model, row->model_id, now); !run) return run;
    auto recorded = impl_->record(tx, ctx, "alias.set", alias_object(model, alias),
                                  {{"from", or_null(*from)}, {"to", version}, {"reason", reason}},
                                  row->version.digest);
    if (!recorded) return recorded;
    const auto owner = load_model(tx, model);
    if (!owner) return owner.error();
    return impl_->publish(
        tx, "model_version_alias", "created", is_prompt(owner->model.tags),
        {{"name", model}, {"alias", alias}, {"version", std::to_string(version)}});
  });
}

Result<void> Registry::delete_alias(const Context& ctx, const std::string& model,
                                    const std::string& alias, const std::string& reason) {
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_model(tx, model);
    if (!row) return row.error();
    const auto from = find_alias(tx, row->id, alias);
    if (!from) return from.error();
    if (!*from) return {};  // as MLflow: nothing to do
    if (auto run = tx.run(sql::delete_alias, row->id, alias); !run) return run;
    auto moved =
        tx.run(sql::insert_move, row->id, alias, *from, nullptr, now, ctx.principal.name, reason);
    if (!moved) return moved;
    if (auto run = tx.run(sql::touch_model, row->id, now); !run) return run;
    auto recorded = impl_->record(tx, ctx, "alias.delete", alias_object(model, alias),
                                  {{"from", or_null(*from)}, {"to", nullptr}, {"reason", reason}});
    if (!recorded) return recorded;
    return impl_->publish(tx, "model_version_alias", "deleted", is_prompt(row->model.tags),
                          {{"name", model}, {"alias", alias}});
  });
}

Result<std::vector<AliasMove>> Registry::alias_history(const std::string& model,
                                                       const std::string& alias) const {
  return impl_->db.read([&](db::Connection& c) -> Result<std::vector<AliasMove>> {
    auto rows = c.query(sql::alias_history, model, alias);
    if (!rows) return rows.error();
    return read_moves(*rows, model);
  });
}

Result<std::vector<AliasMove>> Registry::aliases_at(const std::string& model, Time at) const {
  return impl_->db.read([&](db::Connection& c) -> Result<std::vector<AliasMove>> {
    if (const auto row = load_model(c, model); !row) return row.error();
    auto rows = c.query(sql::aliases_at, model, to_micros(at));
    if (!rows) return rows.error();
    return read_moves(*rows, model);
  });
}

Result<std::optional<std::int64_t>> Registry::alias_at(const std::string& model,
                                                       const std::string& alias, Time at) const {
  return impl_->db.read([&](db::Connection& c) -> Result<std::optional<std::int64_t>> {
    auto rows = c.query(sql::alias_at, model, alias, to_micros(at));
    if (!rows) return rows.error();
    std::optional<std::int64_t> number;
    if (rows->next()) number = rows->maybe_integer(0);
    if (auto status = rows->status(); !status) return status.error();
    return number;
  });
}

Result<void> Registry::record_gate(const Context& ctx, const std::string& model,
                                   std::int64_t version, bool passed, const Json& decision) {
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_version(tx, model, version);
    if (!row) return row.error();
    auto inserted = tx.run(sql::insert_gate, row->model_id, version, passed, canonical(decision),
                           now, ctx.principal.name);
    if (!inserted) return inserted;
    return impl_->record(tx, ctx, "gate.decide", version_object(model, version),
                         {{"passed", passed}, {"decision", decision}}, row->version.digest);
  });
}

Result<std::vector<GateDecision>> Registry::gates(const std::string& model,
                                                  std::int64_t version) const {
  return impl_->db.read([&](db::Connection& c) -> Result<std::vector<GateDecision>> {
    auto rows = c.query(sql::gates, model, version);
    if (!rows) return rows.error();
    std::vector<GateDecision> decisions;
    while (rows->next()) {
      decisions.push_back({.model = model,
                           .version = version,
                           .passed = rows->integer(0) != 0,
                           .at = from_micros(rows->integer(2)),
                           .actor = rows->text(3),
                           .decision = Json::parse(rows->view(1), nullptr, false)});
    }
    if (auto status = rows->status(); !status) return status.error();
    return decisions;
  });
}

}  // namespace slipway::registry
