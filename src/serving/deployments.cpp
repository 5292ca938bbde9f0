#include "serving/deployments.h"

#include <fmt/ranges.h>

#include "base/spec.h"
#include "serving/migrations.h"
#include "serving/queries.h"

namespace slipway::serving {
namespace {

constexpr std::size_t kMaxName = 100;
constexpr std::size_t kMaxShadows = 16;
constexpr std::size_t kMaxCanaries = 8;

Result<void> check_name(std::string_view what, std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  if (name.empty() || name.size() > kMaxName || name.front() == '.' ||
      !std::ranges::all_of(name, allowed)) {
    return invalid_argument(
        fmt::format("{} '{}' is not a name: use 1 to {} letters, digits, '_', '-' or '.', not "
                    "beginning with '.'",
                    what, name.substr(0, kMaxName), kMaxName));
  }
  return {};
}

Json spec_of(const Deployment& deployment) {
  Json spec = {{"alias", deployment.alias},
               {"shadows", deployment.shadows},
               {"shadow_mode", to_string(deployment.shadow_mode)},
               {"clock", to_string(deployment.clock)},
               {"threshold", deployment.threshold}};
  // What is as usual is not written: declarations of earlier versions read, and look, the same.
  for (const Canary& canary : deployment.canaries) {
    spec["canaries"].push_back({{"alias", canary.alias}, {"weight", canary.weight}});
  }
  if (!deployment.sticky.empty()) spec["sticky"] = deployment.sticky;
  if (deployment.log != LogMode::durable) spec["log"] = to_string(deployment.log);
  if (deployment.log_share != 1) spec["log_share"] = deployment.log_share;
  if (!deployment.mask.empty()) spec["mask"] = deployment.mask;
  if (!deployment.encrypt.empty()) spec["encrypt"] = deployment.encrypt;
  if (!deployment.subject.empty()) spec["subject"] = deployment.subject;
  if (deployment.keep.count() != 0) spec["keep"] = fmt::format("{}us", deployment.keep.count());
  if (deployment.pinned) spec["pinned"] = true;
  return spec;
}

Result<void> read_spec(SpecReader& reader, Deployment& into) {
  Deployment::read_options(reader, into);
  return reader.finish();
}

Result<Deployment> from_row(const db::Rows& row) {
  auto spec = parse_json(row.text(2), "stored deployment");
  if (!spec) return spec.error();
  Deployment deployment{.name = row.text(0), .model = row.text(1)};
  const auto document =
      SpecDocument::from_json(std::move(*spec), "deployment '" + deployment.name + "'");
  SpecReader reader(document);
  if (auto read = read_spec(reader, deployment); !read) return read.error();
  deployment.created = from_micros(row.integer(3));
  deployment.updated = from_micros(row.integer(4));
  return deployment;
}

Result<std::optional<Deployment>> find(db::Connection& connection, std::string_view name) {
  auto rows = connection.query(sql::find_deployment, name);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (auto status = rows->status(); !status) return status.error();
    return std::optional<Deployment>{};
  }
  auto deployment = from_row(*rows);
  if (!deployment) return deployment.error();
  return std::optional<Deployment>(std::move(*deployment));
}

Result<std::vector<Deployment>> all(db::Connection& connection) {
  auto rows = connection.query(sql::list_deployments);
  if (!rows) return rows.error();
  std::vector<Deployment> deployments;
  while (rows->next()) {
    auto deployment = from_row(*rows);
    if (!deployment) return deployment.error();
    deployments.push_back(std::move(*deployment));
  }
  if (auto status = rows->status(); !status) return status.error();
  return deployments;
}

Error missing(db::Connection& connection, std::string_view name) {
  std::string hint = "none exists yet; a pipeline's deploy step creates one";
  if (auto known = all(connection); known && !known->empty()) {
    std::vector<std::string> names;
    for (const auto& deployment : *known) names.push_back(deployment.name);
    hint = fmt::format("there is {}", fmt::join(names, ", "));
  }
  return not_found(fmt::format("deployment '{}' does not exist: {}", name, hint));
}

// Encryption is per subject, and who the subject is must not stand beside it in the clear.
Result<void> check_sensitive(const Deployment& deployment) {
  std::set<std::string_view> seen;
  for (const auto* list : {&deployment.mask, &deployment.encrypt}) {
    for (const auto& column : *list) {
      if (!seen.insert(column).second) {
        return invalid_argument(
            fmt::format("deployment '{}' names input '{}' twice in mask and "
                        "encrypt",
                        deployment.name, column));
      }
    }
  }
  if (deployment.encrypt.empty() != deployment.subject.empty()) {
    return invalid_argument(fmt::format(
        "deployment '{}': 'encrypt' and 'subject' go together: the subject is the input that says "
        "whose key is used",
        deployment.name));
  }
  if (!deployment.subject.empty() && !seen.contains(deployment.subject)) {
    return invalid_argument(fmt::format(
        "deployment '{}': the subject '{}' would stand in the log as it is: name it in 'encrypt' "
        "or 'mask', too",
        deployment.name, deployment.subject));
  }
  return {};
}

enum class Must { be_new, exist, either };

Result<Deployment> save(db::Transaction& tx, audit::Log& audit, const Context& ctx,
                        Deployment deployment, Time now, Must must) {
  auto before = find(tx, deployment.name);
  if (!before) return before.error();
  if (*before && must == Must::be_new) {
    return already_exists(
        fmt::format("deployment '{}' exists already; update it instead", deployment.name));
  }
  if (!*before && must == Must::exist) return missing(tx, deployment.name);

  const Json spec = spec_of(deployment);
  if (*before && (*before)->model == deployment.model && spec_of(**before) == spec) return **before;
  const auto sql = *before ? sql::update_deployment : sql::insert_deployment;
  if (auto ran = tx.run(sql, deployment.name, deployment.model, canonical(spec), to_micros(now));
      !ran) {
    return ran.error();
  }
  deployment.created = *before ? (*before)->created : now;
  deployment.updated = now;

  Json details = spec;
  details["model"] = deployment.model;
  auto entry = audit.append(tx, {.actor = ctx.principal.name,
                                 .action = *before ? "deployment.update" : "deployment.create",
                                 .object = "deployments/" + deployment.name,
                                 .details = std::move(details)});
  if (!entry) return entry.error();
  return deployment;
}

}  // namespace

std::string_view to_string(ClockSource source) {
  return source == ClockSource::wall ? "wall" : "request";
}
std::string_view to_string(ShadowMode mode) {
  return mode == ShadowMode::complete ? "complete" : "best_effort";
}

std::string_view to_string(LogMode mode) {
  switch (mode) {
    case LogMode::durable:
      return "durable";
    case LogMode::queued:
      return "queued";
    case LogMode::off:
      return "off";
  }
  return "durable";
}

void Deployment::read_options(SpecReader& reader, Deployment& into) {
  into.alias = reader.text("alias", into.alias);
  into.shadows = reader.texts("shadows");
  into.shadow_mode =
      reader.one_of("shadow_mode", {"best_effort", "complete"}, "best_effort") == "complete"
          ? ShadowMode::complete
          : ShadowMode::best_effort;
  into.clock = reader.one_of("clock", {"wall", "request"}, "wall") == "request"
                   ? ClockSource::request
                   : ClockSource::wall;
  into.threshold = reader.number("threshold", 0.5);
  for (SpecReader& canary : reader.list("canaries")) {
    const std::string alias = canary.text("alias");
    into.canaries.push_back({.alias = alias, .weight = canary.number("weight")});
  }
  into.sticky = reader.text("sticky", "");
  std::ranges::transform(into.sticky, into.sticky.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;  // as headers are compared
  });
  const std::string log = reader.one_of("log", {"durable", "queued", "off"}, "durable");
  into.log = log == "off" ? LogMode::off : log == "queued" ? LogMode::queued : LogMode::durable;
  into.log_share = reader.number("log_share", 1);
  into.mask = reader.texts("mask");
  into.encrypt = reader.texts("encrypt");
  into.subject = reader.text("subject", "");
  into.keep = reader.duration("keep", Duration{0});
  into.pinned = reader.boolean("pinned", false);
}

Result<void> Deployment::validate() const {
  if (auto checked = check_name("deployment", name); !checked) return checked;
  if (model.empty() || model.size() > 256)
    return invalid_argument("a deployment needs the name of a registered model");
  if (auto checked = check_name("alias", alias); !checked) return checked;
  if (shadows.size() > kMaxShadows) {
    return invalid_argument(fmt::format("deployment '{}' has {} shadows, at most {} are run", name,
                                        shadows.size(), kMaxShadows));
  }
  std::set<std::string_view> seen{alias};
  for (const auto& shadow : shadows) {
    if (auto checked = check_name("shadow alias", shadow); !checked) return checked;
    if (!seen.insert(shadow).second) {
      return invalid_argument(fmt::format("deployment '{}' names alias '{}' twice", name, shadow));
    }
  }
  if (!(threshold >= 0 && threshold <= 1)) {
    return invalid_argument(
        fmt::format("deployment '{}': threshold is {}, wanted 0 to 1", name, threshold));
  }
  if (canaries.size() > kMaxCanaries) {
    return invalid_argument(fmt::format("deployment '{}' has {} canaries, at most {} are run", name,
                                        canaries.size(), kMaxCanaries));
  }
  double weights = 0;
  std::set<std::string_view> arms{alias};
  for (const Canary& canary : canaries) {
    if (auto checked = check_name("canary alias", canary.alias); !checked) return checked;
    if (!arms.insert(canary.alias).second) {
      return invalid_argument(
          fmt::format("deployment '{}' gives alias '{}' a share twice", name, canary.alias));
    }
    if (!(canary.weight >= 0 && canary.weight <= 1)) {
      return invalid_argument(
          fmt::format("deployment '{}': canary '{}' has weight {}, wanted 0 to 1", name,
                      canary.alias, canary.weight));
    }
    weights += canary.weight;
  }
  if (weights > 1 + 1e-9) {
    return invalid_argument(fmt::format(
        "deployment '{}': the canaries' weights sum to {}, wanted 1 at most", name, weights));
  }
  if (sticky.size() > kMaxName)
    return invalid_argument(fmt::format("deployment '{}': 'sticky' is no header's name", name));
  if (!(log_share >= 0 && log_share <= 1)) {
    return invalid_argument(
        fmt::format("deployment '{}': log_share is {}, wanted 0 to 1", name, log_share));
  }
  if (keep.count() < 0)
    return invalid_argument(fmt::format("deployment '{}': 'keep' is less than nothing", name));
  return check_sensitive(*this);
}

Json Deployment::to_json() const {
  Json json = spec_of(*this);
  json["name"] = name;
  json["model"] = model;
  json["created"] = format_time(created);
  json["updated"] = format_time(updated);
  return json;
}

Result<Deployment> Deployment::from_json(const Json& json) {
  const auto document = SpecDocument::from_json(json, "deployment");
  SpecReader reader(document);
  Deployment deployment;
  deployment.name = reader.text("name");
  deployment.model = reader.text("model", deployment.name);
  for (const auto* time : {"created", "updated"}) static_cast<void>(reader.text(time, ""));
  if (auto read = read_spec(reader, deployment); !read) return read.error();
  if (auto valid = deployment.validate(); !valid) return valid.error();
  return deployment;
}

Result<std::unique_ptr<DeploymentStore>> DeploymentStore::open(db::Database& db, audit::Log& audit,
                                                               const Clock& clock) {
  if (auto migrated = db.migrate("serving", kMigrations); !migrated) return migrated.error();
  return std::unique_ptr<DeploymentStore>(new DeploymentStore(db, audit, clock));
}

Result<Deployment> DeploymentStore::create(const Context& ctx, Deployment deployment) {
  if (deployment.model.empty()) deployment.model = deployment.name;
  if (auto valid = deployment.validate(); !valid) return valid.error();
  return db_.write([&](db::Transaction& tx) {
    return save(tx, audit_, ctx, deployment, clock_.now(), Must::be_new);
  });
}

Result<Deployment> DeploymentStore::update(const Context& ctx, Deployment deployment) {
  if (deployment.model.empty()) deployment.model = deployment.name;
  if (auto valid = deployment.validate(); !valid) return valid.error();
  return db_.write([&](db::Transaction& tx) {
    return save(tx, audit_, ctx, deployment, clock_.now(), Must::exist);
  });
}

Result<Deployment> DeploymentStore::put(const Context& ctx, Deployment deployment) {
  if (deployment.model.empty()) deployment.model = deployment.name;
  if (auto valid = deployment.validate(); !valid) return valid.error();
  return db_.write([&](db::Transaction& tx) {
    return save(tx, audit_, ctx, deployment, clock_.now(), Must::either);
  });
}

Result<Deployment> DeploymentStore::get(std::string_view name) const {
  return db_.read([&](db::Connection& connection) -> Result<Deployment> {
    auto found = find(connection, name);
    if (!found) return found.error();
    if (!*found) return missing(connection, name);
    return std::move(**found);
  });
}

Result<std::vector<Deployment>> DeploymentStore::list() const {
  return db_.read([](db::Connection& connection) { return all(connection); });
}

Result<Deployment> DeploymentStore::at(std::string_view name, Time time) const {
  const std::string object = "deployments/" + std::string(name);
  std::int64_t after = -1;
  std::optional<audit::Entry> last;
  while (true) {
    auto entries = audit_.list(
        {.action_prefix = "deployment.", .object_prefix = object, .after = after, .limit = 1000});
    if (!entries) return entries.error();
    for (audit::Entry& entry : *entries) {
      after = entry.sequence;
      if (entry.event.object == object && entry.time <= time) last = std::move(entry);
    }
    if (entries->size() < 1000) break;
  }
  if (!last || last->event.action == "deployment.remove") {
    return not_found(fmt::format("there was no deployment '{}' at {}", name, format_time(time)));
  }
  Json json = last->event.details;
  json["name"] = name;
  auto deployment = Deployment::from_json(json);
  if (!deployment) return deployment.error();
  deployment->updated = last->time;
  return deployment;
}

Result<void> DeploymentStore::remove(const Context& ctx, std::string_view name) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    if (auto ran = tx.run(sql::delete_deployment, name); !ran) return ran;
    if (tx.changes() == 0) return missing(tx, name);
    auto entry = audit_.append(tx, {.actor = ctx.principal.name,
                                    .action = "deployment.remove",
                                    .object = "deployments/" + std::string(name)});
    if (!entry) return entry.error();
    return {};
  });
}

}  // namespace slipway::serving
