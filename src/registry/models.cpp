#include "registry/migrations.h"
#include "registry/queries.h"
#include "registry/registry_internal.h"
#include "webhooks/webhooks.h"

namespace slipway::registry {
namespace {

// MLflow's limits, in bytes here; its figures count characters.
constexpr std::size_t kLongestName = 256;
constexpr std::size_t kLongestAlias = 255;
constexpr std::size_t kLongestTagKey = 250;
constexpr std::size_t kLongestTagValue = 100'000;

// The tags of a prompt without those that mark it as one.
Tags without_marks(Tags tags) {
  for (const auto key : {kPromptTag, kPromptTypeTag}) tags.erase(std::string(key));
  return tags;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

Result<void> check_model_name(std::string_view name) {
  if (name.empty()) return invalid_argument("Registered model name cannot be empty");
  if (name.size() > kLongestName) {
    return invalid_argument(
        fmt::format("Registered model name has {} bytes, at most {}", name.size(), kLongestName));
  }
  // "models:/name/3" and "name@alias" are how clients write versions: both marks end a name.
  if (name.find_first_of("/:") != std::string_view::npos || std::ranges::any_of(name, is_control)) {
    return invalid_argument(fmt::format(
        "Invalid model name '{}': it must not hold '/', ':' or control characters", name));
  }
  return {};
}

Result<void> check_alias(std::string_view alias) {
  if (alias.empty()) return invalid_argument("Registered model alias name cannot be empty");
  if (alias.size() > kLongestAlias) {
    return invalid_argument(
        fmt::format("alias has {} characters, at most {}", alias.size(), kLongestAlias));
  }
  const auto fine = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  if (!std::ranges::all_of(alias, fine)) {
    return invalid_argument(fmt::format(
        "Invalid alias name '{}': it may hold letters, digits, underscores and dashes", alias));
  }
  // "latest" and "v7" already mean something in "models:/name@…" to clients.
  std::string low(alias);
  std::ranges::transform(low, low.begin(), [](unsigned char c) { return std::tolower(c); });
  if (low == "latest") {
    return invalid_argument("'latest' alias name (case insensitive) is reserved");
  }
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (low.size() > 1 && low[0] == 'v' && std::ranges::all_of(low.substr(1), is_digit)) {
    return invalid_argument(fmt::format("Version alias name '{}' is reserved", alias));
  }
  return {};
}

Result<void> check_tag(std::string_view key, std::string_view value) {
  if (key.empty()) return invalid_argument("the tag key is empty");
  if (key.size() > kLongestTagKey || std::ranges::any_of(key, is_control)) {
    return invalid_argument(
        fmt::format("tag key '{}' must have at most {} bytes and no control characters",
                    key.substr(0, 40), kLongestTagKey));
  }
  if (value.size() > kLongestTagValue) {
    return invalid_argument(fmt::format("tag '{}' has a value of {} bytes, at most {}", key,
                                        value.size(), kLongestTagValue));
  }
  return {};
}

Result<void> Registry::Impl::record(db::Transaction& tx, const Context& ctx, std::string action,
                                    std::string object, Json details, std::string digest) const {
  auto entry = audit.append(tx, {.actor = ctx.principal.name,
                                 .action = std::move(action),
                                 .object = std::move(object),
                                 .digest = std::move(digest),
                                 .details = std::move(details)});
  if (!entry) return entry.error();
  return {};
}

Result<void> Registry::Impl::publish(db::Transaction& tx, std::string_view entity,
                                     std::string_view action, bool prompt, Json data) const {
  if (webhooks == nullptr) return {};
  struct Name {
    std::string_view model, prompt;
  };
  static constexpr Name kNames[] = {{"registered_model", "prompt"},
                                    {"model_version", "prompt_version"},
                                    {"registered_model_tag", "prompt_tag"},
                                    {"model_version_tag", "prompt_version_tag"},
                                    {"model_version_alias", "prompt_alias"}};
  const auto* name = std::ranges::find(kNames, entity, &Name::model);
  return webhooks->publish(tx, {.entity = std::string(prompt ? name->prompt : entity),
                                .action = std::string(action),
                                .data = std::move(data)});
}

bool is_prompt(const Tags& tags) {
  const auto tag = tags.find(std::string(kPromptTag));
  if (tag == tags.end()) return false;
  return std::ranges::equal(tag->second, std::string_view("true"), {},
                            [](unsigned char c) { return std::tolower(c); });
}

Result<ModelRow> load_model(db::Connection& connection, const std::string& name) {
  ModelRow row;
  {
    auto rows = connection.query(sql::find_model, name);
    if (!rows) return rows.error();
    if (!rows->next()) {
      if (auto status = rows->status(); !status) return status.error();
      return not_found(fmt::format("Registered Model with name={} not found", name));
    }
    row.id = rows->integer(0);
    row.model.name = rows->text(1);
    row.model.description = rows->text(2);
    row.model.created = from_micros(rows->integer(3));
    row.model.updated = from_micros(rows->integer(4));
  }
  auto tags = connection.query(sql::model_tags, row.id);
  if (!tags) return tags.error();
  while (tags->next()) row.model.tags[tags->text(0)] = tags->text(1);
  if (auto status = tags->status(); !status) return status.error();
  auto aliases = connection.query(sql::model_aliases, row.id);
  if (!aliases) return aliases.error();
  while (aliases->next()) row.model.aliases[aliases->text(0)] = aliases->integer(1);
  if (auto status = aliases->status(); !status) return status.error();
  return row;
}

Registry::Registry(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Registry::~Registry() = default;

Result<std::unique_ptr<Registry>> Registry::open(db::Database& db, audit::Log& audit,
                                                 const Clock& clock) {
  if (auto migrated = db.migrate("registry", kMigrations); !migrated) return migrated.error();
  return std::unique_ptr<Registry>(new Registry(std::make_unique<Impl>(Impl{db, audit, clock})));
}

void Registry::set_name_listener(NameListener& listener) { impl_->listener = &listener; }

void Registry::set_webhooks(webhooks::Webhooks& webhooks) { impl_->webhooks = &webhooks; }

Result<void> Registry::allow_sources(std::vector<std::string> prefixes) {
  for (const auto& prefix : prefixes) {
    if (auto checked = check_source_prefix(prefix); !checked) return checked;
  }
  impl_->allowed_sources = std::move(prefixes);
  return {};
}

Result<RegisteredModel> Registry::create_model(const Context& ctx, const std::string& name,
                                               const std::string& description, const Tags& tags) {
  if (auto checked = check_model_name(name); !checked) return checked.error();
  for (const auto& [key, value] : tags) {
    if (auto checked = check_tag(key, value); !checked) return checked.error();
  }
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<RegisteredModel> {
    const auto taken = load_model(tx, name);
    if (taken) {
      return already_exists(fmt::format("Registered Model (name={}) already exists", name));
    }
    if (taken.error().code != Code::not_found) return taken.error();
    if (auto run = tx.run(sql::insert_model, name, description, now); !run) return run.error();
    const std::int64_t id = tx.last_row_id();
    for (const auto& [key, value] : tags) {
      if (auto run = tx.run(sql::upsert_model_tag, id, key, value); !run) return run.error();
    }
    auto recorded = impl_->record(tx, ctx, "model.create", model_object(name), Json::object());
    if (!recorded) return recorded.error();
    auto published =
        impl_->publish(tx, "registered_model", "created", is_prompt(tags),
                       {{"name", name},
                        {"tags", without_marks(tags)},
                        {"description", description.empty() ? Json(nullptr) : Json(description)}});
    if (!published) return published.error();
    auto row = load_model(tx, name);
    if (!row) return row.error();
    return std::move(row->model);
  });
}

Result<RegisteredModel> Registry::ensure_model(const Context& ctx, const std::string& name) {
  auto found = model(name);
  if (found || found.error().code != Code::not_found) return found;
  auto created = create_model(ctx, name);
  if (created || created.error().code != Code::already_exists) return created;
  return model(name);  // someone else was faster
}

Result<RegisteredModel> Registry::model(const std::string& name) const {
  return impl_->db.read([&](db::Connection& c) -> Result<RegisteredModel> {
    auto row = load_model(c, name);
    if (!row) return row.error();
    return std::move(row->model);
  });
}

Result<RegisteredModel> Registry::rename_model(const Context& ctx, const std::string& name,
                                               const std::string& new_name) {
  if (auto checked = check_model_name(new_name); !checked) return checked.error();
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<RegisteredModel> {
    auto row = load_model(tx, name);
    if (!row) return row.error();
    if (name == new_name) return std::move(row->model);
    const auto taken = load_model(tx, new_name);
    if (taken) {
      return already_exists(fmt::format("Registered Model (name={}) already exists", new_name));
    }
    if (taken.error().code != Code::not_found) return taken.error();
    auto renamed = tx.run(sql::rename_model, row->id, new_name, now);
    if (!renamed) return renamed.error();
    if (impl_->listener != nullptr) {
      auto told = impl_->listener->model_renamed(tx, name, new_name);
      if (!told) return told.error();
    }
    auto recorded =
        impl_->record(tx, ctx, "model.rename", model_object(name), {{"new_name", new_name}});
    if (!recorded) return recorded.error();
    row = load_model(tx, new_name);
    if (!row) return row.error();
    return std::move(row->model);
  });
}

Result<RegisteredModel> Registry::describe_model(const Context& ctx, const std::string& name,
                                                 const std::string& description) {
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<RegisteredModel> {
    auto row = load_model(tx, name);
    if (!row) return row.error();
    if (auto run = tx.run(sql::describe_model, row->id, description, now); !run) return run.error();
    auto recorded = impl_->record(tx, ctx, "model.describe", model_object(name), Json::object());
    if (!recorded) return recorded.error();
    row->model.description = description;
    row->model.updated = from_micros(now);
    return std::move(row->model);
  });
}

Result<void> Registry::delete_model(const Context& ctx, const std::string& name) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_model(tx, name);
    if (!row) return row.error();
    // Aliases first: they refer to versions, which go with the model.
    if (auto run = tx.run(sql::delete_model_aliases, row->id); !run) return run;
    if (auto run = tx.run(sql::delete_model, row->id); !run) return run;
    if (impl_->listener != nullptr) {
      if (auto told = impl_->listener->model_deleted(tx, name); !told) return told;
    }
    return impl_->record(tx, ctx, "model.delete", model_object(name),
                         {{"aliases", row->model.aliases}});
  });
}

Result<void> Registry::set_model_tag(const std::string& name, const std::string& key,
                                     const std::string& value) {
  if (auto checked = check_tag(key, value); !checked) return checked;
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_model(tx, name);
    if (!row) return row.error();
    if (auto run = tx.run(sql::upsert_model_tag, row->id, key, value); !run) return run;
    if (auto run = tx.run(sql::touch_model, row->id, now); !run) return run;
    if (!is_prompt(row->model.tags)) return {};  // MLflow tells of prompts' tags only
    return impl_->publish(tx, "registered_model_tag", "set", true,
                          {{"name", name}, {"key", key}, {"value", value}});
  });
}

Result<void> Registry::delete_model_tag(const std::string& name, const std::string& key) {
  const std::int64_t now = impl_->now();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load_model(tx, name);
    if (!row) return row.error();
    if (auto run = tx.run(sql::delete_model_tag, row->id, key); !run) return run;
    if (auto run = tx.run(sql::touch_model, row->id, now); !run) return run;
    if (!is_prompt(row->model.tags)) return {};  // MLflow tells of prompts' tags only
    return impl_->publish(tx, "registered_model_tag", "deleted", true,
                          {{"name", name}, {"key", key}});
  });
}

}  // namespace slipway::registry
