#include "db/postgres_url.h"

#include <libpq-fe.h>

#include <memory>

namespace slipway::db {
namespace {

struct OptionsDeleter {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

// "postgresql://user:secret@host/db?a=b&password=secret" without both secrets.
std::string without_password(std::string url) {
  const std::size_t authority = url.find("://") + 3;
  const std::size_t authority_end = std::min(url.find_first_of("/?", authority), url.size());
  const std::size_t at = url.substr(0, authority_end).rfind('@');
  if (at != std::string::npos && at > authority) {
    const std::size_t colon = url.find(':', authority);
    if (colon < at) url.erase(colon, at - colon);
  }
  constexpr std::string_view kKey = "password=";
  std::size_t query = url.find('?');
  while (query != std::string::npos) {
    const std::size_t begin = query + 1;
    const std::size_t end = std::min(url.find('&', begin), url.size());
    if (url.compare(begin, kKey.size(), kKey) == 0) {
      url.erase(begin, std::min(end + 1, url.size()) - begin);
      if (url.ends_with('&') || url.ends_with('?')) url.pop_back();
      if (begin > url.size()) break;
      query = begin - 1;
      if (query >= url.size()) break;
      continue;
    }
    query = url.find('&', begin);
  }
  return url;
}

}  // namespace

bool is_postgres_url(std::string_view text) {
  return text.starts_with("postgresql://") || text.starts_with("postgres://");
}

Result<PostgresUrl> parse_postgres_url(const std::string& text) {
  // libpq's own message repeats the URL, password and all.
  char* message = nullptr;
  const std::unique_ptr<PQconninfoOption, OptionsDeleter> options(
      is_postgres_url(text) ? PQconninfoParse(text.c_str(), &message) : nullptr);
  PQfreemem(message);
  if (options == nullptr) {
    return invalid_argument(
        "the database's URL cannot be read: write postgresql://USER@HOST:PORT/DATABASE, with "
        "characters such as @ : / ? % in a name written as %40 and so on");
  }
  PostgresUrl url{
      .full = text, .without_password = without_password(text), .password = {}, .database = {}};
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    const std::string_view keyword = option->keyword;
    if (keyword == "password") url.password = option->val;
    if (keyword == "dbname") url.database = option->val;
  }
  return url;
}

}  // namespace slipway::db
