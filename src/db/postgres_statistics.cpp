#include "db/postgres_statistics_internal.h"

#include "base/log.h"

namespace slipway::db {
namespace {

// Out of date: more than a fifth of the rows has changed since the last ANALYZE (autovacuum's
// default is a tenth; pg_stat_all_tables, PostgreSQL 15's documentation, 28.2), or there was none
// yet and the table has more than eight pages: the counts of changes arrive late.
constexpr const char* kOutOfDate =
    "SELECT c.relname FROM pg_class c JOIN pg_stat_all_tables s ON s.relid = c.oid "
    "WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace(quote_ident(current_schema())) "
    "AND pg_has_role(c.relowner, 'USAGE') "
    "AND (s.n_mod_since_analyze > 1000 + 0.2 * greatest(c.reltuples, 0) "
    "  OR (s.last_analyze IS NULL AND s.last_autoanalyze IS NULL "
    "      AND pg_relation_size(c.oid) > 65536)) ORDER BY 1";

}  // namespace

Result<int> refresh_statistics(PostgresSession& session) {
  const auto found = session.simple(kOutOfDate);
  if (!found) return found.error();
  const int tables = PQntuples(found->get());
  for (int i = 0; i < tables; ++i) {
    const std::string table = PQgetvalue(found->get(), i, 0);
    if (auto analyzed = session.simple("ANALYZE " + quote_name(table)); !analyzed)
      return analyzed.error().at(table);
    log::debug("statistics of a table are fresh", {{"table", table}});
  }
  return tables;
}

}  // namespace slipway::db
