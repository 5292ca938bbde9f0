#include "features/view_store.h"

#include "base/spec.h"
#include "features/migrations.h"
#include "features/queries.h"

namespace slipway::features {
namespace {

Result<ViewRecord> record_of(const db::Rows& row) {
  const auto json = parse_json(row.text(1), "view '" + row.text(0) + "'");
  if (!json) return json.error();
  auto spec = ViewSpec::from_json(*json);
  if (!spec) return data_loss(spec.error().message);
  return ViewRecord{std::move(*spec), row.text(2), from_micros(row.integer(3)), row.text(4),
                    row.integer(5)};
}

template <class... Args>
Result<std::vector<ViewRecord>> records(const db::Database& db, std::string_view sql,
                                        const Args&... args) {
  return db.read([&](db::Connection& connection) -> Result<std::vector<ViewRecord>> {
    auto rows = connection.query(sql, args...);
    if (!rows) return rows.error();
    std::vector<ViewRecord> out;
    while (rows->next()) {
      auto record = record_of(*rows);
      if (!record) return record.error();
      out.push_back(std::move(*record));
    }
    if (auto status = rows->status(); !status) return status.error();
    return out;
  });
}

}  // namespace

Result<std::unique_ptr<ViewStore>> ViewStore::open(db::Database& db, data::DatasetStore& datasets,
                                                   audit::Log& audit, const Clock& clock) {
  if (auto migrated = db.migrate("features", kMigrations); !migrated) return migrated.error();
  return std::unique_ptr<ViewStore>(new ViewStore(db, datasets, audit, clock));
}

Result<ViewPtr> load_view(const Context& ctx, const data::DatasetStore& datasets,
                          const ViewSpec& spec, const std::string& version) {
  const auto ref = datasets.resolve(version);
  if (!ref) return ref.error().at("view '" + spec.name + "'");
  const auto table = datasets.load(ctx, *ref, spec.reads());
  if (!table) return table.error().at("view '" + spec.name + "'");
  const auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  return View::build(ctx, spec, columns->batch(), ref->text());
}

Result<ViewPtr> ViewStore::load(const Context& ctx, const ViewSpec& spec,
                                const std::string& version) const {
  return load_view(ctx, datasets_, spec, version);
}

Result<ViewRecord> ViewStore::materialise(const Context& ctx, const ViewSpec& spec,
                                          const std::string& version) {
  const auto there = find(spec.name);
  if (!there && there.error().code != Code::not_found) return there.error();
  if (there && there->spec.digest() != spec.digest()) {
    return failed_precondition("there is a view '" + spec.name +
                               "' that is declared otherwise, and models may look up in it; give "
                               "this one another name, or drop that one");
  }
  const auto ref = datasets_.resolve(!version.empty()        ? version
                                     : !spec.version.empty() ? spec.version
                                                             : spec.dataset);
  if (!ref) return ref.error().at("view '" + spec.name + "'");
  if (ref->name != spec.dataset) {
    return invalid_argument("view '" + spec.name + "' is of dataset '" + spec.dataset + "', and " +
                            ref->text() + " is another");
  }
  const auto view = load(ctx, spec, ref->text());
  if (!view) return view.error();
  const std::string json = canonical(spec.to_json());
  auto written = db_.write([&](db::Transaction& tx) -> Result<void> {
    if (auto put = tx.run(sql::put_view, spec.name, json, ref->text(), to_micros(clock_.now()),
                          ctx.principal.name);
        !put)
      return put;
    const auto entry =
        audit_.append(tx, {.actor = ctx.principal.name,
                           .action = "feature_view.switch",
                           .object = "feature_views/" + spec.name,
                           .digest = ref->version,
                           .details = {{"events", (*view)->events()}, {"keys", (*view)->keys()}}});
    if (!entry) return entry.error();
    return {};
  });
  if (!written) return written.error();
  return find(spec.name);
}

Result<ViewRecord> ViewStore::find(const std::string& name) const {
  auto found = records(db_, sql::find_view, name);
  if (!found) return found.error();
  if (!found->empty()) return std::move(found->front());
  std::vector<std::string> names;
  if (const auto all = list()) {
    for (const ViewRecord& record : *all) names.push_back(record.spec.name);
  }
  const auto near = nearest(name, names);
  return not_found("no feature view is called '" + name + "'" +
                   (near ? "; did you mean '" + *near + "'?" : ""));
}

Result<std::vector<ViewRecord>> ViewStore::list() const { return records(db_, sql::list_views); }

Result<void> ViewStore::drop(const Context& ctx, const std::string& name) {
  if (const auto there = find(name); !there) return there.error();
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    if (auto gone = tx.run(sql::drop_view, name); !gone) return gone;
    const auto entry = audit_.append(tx, {.actor = ctx.principal.name,
                                          .action = "feature_view.drop",
                                          .object = "feature_views/" + name});
    if (!entry) return entry.error();
    return {};
  });
}

Result<bool> LiveViews::refresh(const Context& ctx) {
  const auto wanted = store_.list();
  if (!wanted) return wanted.error();
  bool changed = false;
  Result<bool> outcome = true;
  std::vector<std::string> names;
  for (const ViewRecord& record : *wanted) {
    names.push_back(record.spec.name);
    const bool current = live_.with([&](const auto& live) {
      const auto there = live.find(record.spec.name);
      return there != live.end() && there->second.serial == record.serial &&
             there->second.switched == record.switched &&
             there->second.view->version() == record.version;
    });
    if (current) continue;
    auto view =
        store_.load(ctx, record.spec, record.version);  // outside the lock: it takes a while
    if (!view) {
      outcome = view.error();
      continue;
    }
    live_.with([&](auto& live) {
      live[record.spec.name] = {record.serial, record.switched, std::move(*view)};
    });
    changed = true;
  }
  live_.with([&](auto& live) {
    changed |= std::erase_if(live, [&](const auto& each) {
                 return std::find(names.begin(), names.end(), each.first) == names.end();
               }) > 0;
  });
  if (!outcome) return outcome;
  return changed;
}

ViewPtr LiveViews::find(const std::string& name) const {
  return live_.with([&](const auto& live) -> ViewPtr {
    const auto there = live.find(name);
    return there == live.end() ? nullptr : there->second.view;
  });
}

}  // namespace slipway::features
