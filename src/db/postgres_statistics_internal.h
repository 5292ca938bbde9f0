// The planner's statistics of a PostgreSQL database. Its autovacuum looks once a minute, and until
// then a table that has just been filled counts as empty: plans that suit an empty table take
// seconds on ten thousand rows. The server looks more often.
#pragma once
#include "db/postgres_internal.h"

namespace slipway::db {

// Analyzes the tables of the session's schema that have changed much since they last were; how
// many those were. Takes a fraction of a second a table, and blocks neither reads nor writes.
Result<int> refresh_statistics(PostgresSession& session);

}  // namespace slipway::db
