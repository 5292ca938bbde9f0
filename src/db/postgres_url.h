// URLs of PostgreSQL databases, as libpq reads them
// (https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING): what may be shown of
// one, and what may be kept in a file. Pure functions.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway::db {

// postgresql://… or postgres://…
bool is_postgres_url(std::string_view text);

struct PostgresUrl {
  std::string full;              // as given
  std::string without_password;  // still a URL: for files and for messages
  std::string password;
  std::string database;
};
// invalid_argument, without a word of the URL in it, when it is none.
Result<PostgresUrl> parse_postgres_url(const std::string& text);

}  // namespace slipway::db
