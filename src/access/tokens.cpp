#include "access/access_internal.h"
#include "access/queries.h"
#include "base/hash.h"

namespace slipway::access {
namespace {

constexpr std::size_t kLongestLabel = 200;
constexpr Duration kForgetAfter = std::chrono::days(30);

std::optional<Time> maybe_time(const db::Rows& rows, int column) {
  const auto micros = rows.maybe_integer(column);
  if (!micros) return std::nullopt;
  return from_micros(*micros);
}

Json described(const NewToken& token, const std::optional<Time>& expires) {
  Json details = {
      {"user", token.user}, {"label", token.label}, {"level", to_string(token.scope.level)}};
  if (token.scope.resource) details["resource"] = token.scope.resource->text();
  if (expires) details["expires"] = format_time(*expires);
  return details;
}

}  // namespace

Token read_token(const db::Rows& rows) {
  Token token{.id = rows.text(0),
              .user_id = rows.integer(1),
              .user = rows.text(2),
              .hash = rows.text(3),
              .label = rows.text(4),
              .created = from_micros(rows.integer(8)),
              .created_by = rows.text(9),
              .expires = maybe_time(rows, 10),
              .last_used = maybe_time(rows, 11),
              .revoked = maybe_time(rows, 12)};
  token.scope.level = parse_level(rows.view(5)).value_or(Level::none);
  if (const auto kind = rows.text(6); !kind.empty()) {
    const auto known = parse_kind(kind);
    if (!known) token.scope.level = Level::none;  // of a newer program: good for nothing here
    token.scope.resource = Resource{known.value_or(Kind::workspace), rows.text(7)};
  }
  return token;
}

Result<CreatedToken> Directory::create_token(const Context& ctx, const NewToken& token) {
  if (token.label.size() > kLongestLabel) {
    return invalid_argument(fmt::format("the token's label has {} bytes, at most {}",
                                        token.label.size(), kLongestLabel));
  }
  if (token.scope.level == Level::none)
    return invalid_argument("a token for nothing is of no use: give it a level");
  if (token.lifetime && *token.lifetime <= Duration::zero())
    return invalid_argument("the token's lifetime must be longer than nothing");
  const std::string id = impl_->ids.next().substr(16);  // the half that counts up in tests
  CreatedToken made;
  made.text = fmt::format("{}{}_{}{}", kTokenPrefix, id, impl_->ids.next(), impl_->ids.next());
  std::optional<Time> expires;
  if (token.lifetime) expires = impl_->clock.now() + *token.lifetime;
  auto stored = impl_->change([&](db::Transaction& tx) -> Result<Token> {
    const auto user = find_user(tx, token.user);
    if (!user) return user.error();
    std::optional<std::int64_t> until;
    if (expires) until = to_micros(*expires);
    const std::string_view kind =
        token.scope.resource ? to_string(token.scope.resource->kind) : std::string_view();
    const std::string name = token.scope.resource ? token.scope.resource->name : "";
    auto inserted =
        tx.run(sql::insert_token, id, user->id, sha256_hex(made.text), token.label,
               to_string(token.scope.level), kind, name, impl_->now(), ctx.principal.name, until);
    if (!inserted) return inserted.error();
    auto recorded =
        impl_->record(tx, ctx, "token.create", "tokens/" + id, described(token, expires));
    if (!recorded) return recorded.error();
    auto rows = tx.query(sql::find_token, id);
    if (!rows) return rows.error();
    if (!rows->next()) return internal("the new token cannot be read back");
    return read_token(*rows);
  });
  if (!stored) return stored.error();
  made.token = *std::move(stored);
  return made;
}

Result<void> Directory::revoke_token(const Context& ctx, const std::string& id) {
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    std::string user;
    {
      auto rows = tx.query(sql::find_token, id);
      if (!rows) return rows.error();
      if (!rows->next()) {
        if (auto status = rows->status(); !status) return status;
        return not_found(fmt::format("there is no token '{}'", id));
      }
      const Token token = read_token(*rows);
      if (token.revoked) return {};
      user = token.user;
    }
    if (auto set = tx.run(sql::revoke_token, id, impl_->now()); !set) return set;
    return impl_->record(tx, ctx, "token.revoke", "tokens/" + id, {{"user", user}});
  });
}

Result<std::vector<Token>> Directory::tokens() const {
  return impl_->db.read([](db::Connection& c) -> Result<std::vector<Token>> {
    auto rows = c.query(sql::list_tokens);
    if (!rows) return rows.error();
    std::vector<Token> all;
    while (rows->next()) all.push_back(read_token(*rows));
    if (auto status = rows->status(); !status) return status.error();
    return all;
  });
}

void Directory::note_use(const std::string& token) {
  const Time now = impl_->clock.now();
  impl_->used.with([&](std::map<std::string, Time>& used) { used[token] = now; });
}

Result<void> Directory::flush() {
  const auto used =
      impl_->used.with([](std::map<std::string, Time>& here) { return std::exchange(here, {}); });
  if (used.empty()) return {};
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    for (const auto& [token, time] : used) {
      if (auto set = tx.run(sql::touch_token, token, to_micros(time)); !set) return set;
    }
    return tx.run(sql::delete_old_tokens, to_micros(impl_->clock.now() - kForgetAfter));
  });
}

}  // namespace slipway::access
