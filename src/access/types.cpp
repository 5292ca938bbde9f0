#include "access/types.h"

#include "access/access_internal.h"
#include "base/spec.h"

namespace slipway::access {
namespace {

constexpr std::pair<Level, std::string_view> kLevels[] = {{Level::none, "none"},
                                                          {Level::read, "read"},
                                                          {Level::use, "use"},
                                                          {Level::edit, "edit"},
                                                          {Level::manage, "manage"}};
constexpr std::pair<Kind, std::string_view> kKinds[] = {{Kind::workspace, "workspace"},
                                                        {Kind::experiment, "experiment"},
                                                        {Kind::model, "model"},
                                                        {Kind::deployment, "deployment"}};
constexpr std::size_t kLongestName = 500;

}  // namespace

std::string_view to_string(Level level) { return kLevels[static_cast<std::size_t>(level)].second; }

Result<Level> parse_level(std::string_view text) {
  for (const auto& [level, word] : kLevels) {
    if (level != Level::none && word == text) return level;
  }
  return invalid_argument(
      fmt::format("'{}' is no level: there is read, use, edit and manage", text));
}

std::string_view to_string(Kind kind) { return kKinds[static_cast<std::size_t>(kind)].second; }

Result<Kind> parse_kind(std::string_view text) {
  for (const auto& [kind, word] : kKinds) {
    if (word == text) return kind;
  }
  return invalid_argument(fmt::format(
      "'{}' is nothing that can be granted: there is workspace, experiment, model and deployment",
      text));
}

std::string_view to_string(Holder::Kind kind) {
  switch (kind) {
    case Holder::Kind::user:
      return "user";
    case Holder::Kind::role:
      return "role";
    case Holder::Kind::everyone:
      return "everyone";
  }
  return "everyone";
}

Result<Resource> Resource::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto kind = parse_kind(text.substr(0, slash));
  if (!kind) return kind.error();
  if (*kind == Kind::workspace) {
    const auto name = slash == std::string_view::npos ? kDefaultWorkspace : text.substr(slash + 1);
    if (name != kDefaultWorkspace && name != kAny) {
      return invalid_argument(
          fmt::format("there is no workspace '{}': the only one is '{}'", name, kDefaultWorkspace));
    }
    return workspace();
  }
  if (slash == std::string_view::npos || slash + 1 == text.size()) {
    return invalid_argument(
        fmt::format("'{}' does not say which {}: write {}/NAME, or {}/* for all", text,
                    to_string(*kind), to_string(*kind), to_string(*kind)));
  }
  const auto name = text.substr(slash + 1);
  if (name.size() > kLongestName) {
    return invalid_argument(fmt::format("the name of the {} has {} bytes, at most {}",
                                        to_string(*kind), name.size(), kLongestName));
  }
  return Resource{*kind, std::string(name)};
}

std::string Resource::text() const {
  if (kind == Kind::workspace) return std::string(to_string(kind));
  return fmt::format("{}/{}", to_string(kind), name);
}

const User* Snapshot::user(std::int64_t id) const {
  const auto at = users.find(id);
  return at == users.end() ? nullptr : &at->second;
}

const User* Snapshot::user_named(std::string_view name) const {
  const auto at = users_by_name.find(folded(name));
  return at == users_by_name.end() ? nullptr : user(at->second);
}

const Role* Snapshot::role_named(std::string_view name) const {
  for (const auto& [id, role] : roles) {
    if (role.name == name) return &role;
  }
  return nullptr;
}

}  // namespace slipway::access
