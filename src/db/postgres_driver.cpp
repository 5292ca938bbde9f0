// Opening, watching, checking and copying a PostgreSQL database.
#include <mutex>

#include "base/hash.h"
#include "db/postgres_internal.h"
#include "db/postgres_tools_internal.h"

namespace slipway::db {
namespace {

// What translated statements call. A function never changes once it has been here: another one gets
// another name, so that programs of two versions can share a database.
struct Helper {
  std::string_view name;
  std::string_view sql;
};
constexpr Helper kHelpers[] = {
    {"slipway_integers",
     "CREATE FUNCTION slipway_integers(list text) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL "
     "SAFE AS $$ SELECT coalesce(array_agg(value::bigint), '{}') FROM "
     "jsonb_array_elements_text(list::jsonb) $$"},
    {"slipway_texts",
     "CREATE FUNCTION slipway_texts(list text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE "
     "AS $$ SELECT coalesce(array_agg(value), '{}') FROM jsonb_array_elements_text(list::jsonb) "
     "$$"},
    {"slipway_json_each",
     "CREATE FUNCTION slipway_json_each(list text) RETURNS TABLE(key bigint, value text) LANGUAGE "
     "sql IMMUTABLE PARALLEL SAFE AS $$ SELECT place - 1, item FROM "
     "jsonb_array_elements_text(list::jsonb) WITH ORDINALITY e(item, place) $$"},
    {"slipway_refuse",
     "CREATE FUNCTION slipway_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
     "RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation'; END $$"},
    // Our integers are all bigint; substr has none of those.
    {"substr",
     "CREATE FUNCTION substr(whole text, start bigint) RETURNS text LANGUAGE sql IMMUTABLE "
     "PARALLEL "
     "SAFE AS $$ SELECT pg_catalog.substr(whole, start::integer) $$; "
     "CREATE FUNCTION substr(whole text, start bigint, length bigint) RETURNS text LANGUAGE sql "
     "IMMUTABLE PARALLEL SAFE AS $$ SELECT pg_catalog.substr(whole, start::integer, "
     "length::integer) $$"},
};

class PostgresDriver final : public Driver {
 public:
  PostgresDriver(PostgresUrl url, const Options& options)
      : url_(std::move(url)), options_(options) {}

  Backend backend() const override { return Backend::postgres; }
  const std::string& name() const override { return url_.without_password; }

  Result<std::unique_ptr<Session>> connect(bool read_only) const override {
    auto session = open(read_only);
    if (!session) return session.error();
    return std::unique_ptr<Session>(*std::move(session));
  }

  // Changes nothing where all is there already: the database may belong to a newer program.
  Result<void> prepare(Session& writer) const override {
    auto& session = static_cast<PostgresSession&>(writer);
    if (auto made = make_schema(session); !made) return made;
    std::string names;
    for (const Helper& helper : kHelpers)
      names += fmt::format("{}'{}'", names.empty() ? "" : ", ", helper.name);
    const auto there = [&] {
      return session.ask(fmt::format(
          "SELECT (SELECT count(DISTINCT proname) FROM pg_proc WHERE pronamespace = "
          "to_regnamespace(quote_ident(current_schema())) AND proname IN ({})) "
          "= {} AND to_regclass(quote_ident(current_schema()) || '.schema_migrations') IS NOT NULL",
          names, std::size(kHelpers)));
    };
    auto complete = there();
    if (!complete) return complete.error();
    if (*complete == "t") return {};
    if (auto begun = session.begin_write(); !begun) return begun;
    auto made = make_helpers(session);
    if (made) made = session.commit();
    if (!made) session.rollback();
    return made;
  }

  // What is under way and what has ended: it differs as soon as any transaction that changed
  // something has been committed. Costs no table access and no write.
  Result<std::int64_t> change_counter() const override {
    const std::scoped_lock lock(counter_mutex_);
    if (!counter_) {
      auto opened = open(true);
      if (!opened) return opened.error();
      counter_ = *std::move(opened);
    }
    for (int attempt = 0;; ++attempt) {
      if (auto connected = counter_->ensure(); !connected) return connected.error();
      auto snapshot = counter_->ask("SELECT pg_current_snapshot()::text");
      if (snapshot) return static_cast<std::int64_t>(hash64(*snapshot));
      if (!counter_->lost() || attempt == 1) return snapshot.error();
    }
  }

  Result<std::vector<std::string>> check(Connection& connection) const override;

  Result<void> backup_to(const std::filesystem::path& file) const override {
    auto session = open(true);
    if (!session) return session.error();
    const auto schema = (*session)->ask("SELECT current_schema()");
    if (!schema) return schema.error();
    return run_tool(
        "pg_dump",
        {"--format=custom", "--no-owner", "--no-privileges", "--schema=" + quote_name(*schema),
         "--file=" + file.string(), "--dbname=" + url_.without_password},
        url_.password);
  }

  // Reads the whole archive, as restoring it would.
  Result<void> verify_backup(const std::filesystem::path& copy) const override {
    return verify_dump(copy);
  }

 private:
  Result<std::unique_ptr<PostgresSession>> open(bool read_only) const {
    return PostgresSession::open(url_, options_, read_only, catalog_);
  }

  // A URL may name a schema that does not exist yet: ?options=-csearch_path%3Dteam
  static Result<void> make_schema(PostgresSession& session) {
    const auto current = session.ask("SELECT coalesce(current_schema(), '')");
    if (!current) return current.error();
    if (!current->empty()) return {};
    auto path = session.ask("SELECT current_setting('search_path')");
    if (!path) return path.error();
    std::string first = path->substr(0, path->find(','));
    std::erase_if(first, [](char c) { return c == '"' || c == ' '; });
    auto made = session.simple("CREATE SCHEMA IF NOT EXISTS " + quote_name(first));
    if (!made) return made.error();
    return session.reconnect();
  }

  static Result<void> make_helpers(PostgresSession& session) {
    if (auto made = session.run_script(kSchemaTable); !made) return made;
    for (const Helper& helper : kHelpers) {
      const auto found = session.ask(
          fmt::format("SELECT count(*) FROM pg_proc WHERE proname = '{}' AND pronamespace = "
                      "to_regnamespace(quote_ident(current_schema()))",
                      helper.name));
      if (!found) return found.error();
      if (*found != "0") continue;
      if (auto made = session.simple(std::string(helper.sql)); !made) return made.error();
    }
    return {};
  }

  PostgresUrl url_;
  Options options_;
  mutable SharedCatalog catalog_;
  mutable std::mutex counter_mutex_;
  mutable std::unique_ptr<PostgresSession> counter_;
};

// PostgreSQL looks after itself while it writes; what is left to find are damaged pages (reading
// every row meets their checksums), indexes that were never finished, and rows whose foreign key
// was not enforced, as after a restore with triggers off.
Result<std::vector<std::string>> PostgresDriver::check(Connection& connection) const {
  std::vector<std::string> findings;
  std::vector<std::string> tables;
  auto rows = connection.query(
      "--pg SELECT c.relname FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = "
      "to_regnamespace(quote_ident(current_schema())) ORDER BY 1");
  if (!rows) return rows.error();
  while (rows->next()) tables.push_back(rows->text(0));
  rows = connection.query(
      "--pg SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = "
      "i.indrelid WHERE NOT (i.indisvalid AND i.indisready) AND c.relnamespace = "
      "to_regnamespace(quote_ident(current_schema()))");
  if (!rows) return rows.error();
  while (rows->next())
    findings.push_back("index " + rows->text(0) + " is not valid: REINDEX makes it anew");
  for (const auto& table : tables) {
    auto read = connection.query("--pg SELECT count(t.*::text) FROM " + quote_name(table) + " t");
    if (!read) {
      findings.push_back("table '" + table + "' cannot be read: " + read.error().message);
      return findings;
    }
  }
  // Of each foreign key: its tables, and a condition that says which rows belong together.
  struct Key {
    std::string from, to, match, given;
  };
  std::vector<Key> keys;
  rows = connection.query(
      "--pg SELECT c.conrelid::regclass::text, c.confrelid::regclass::text, "
      "  string_agg(format('p.%I = c.%I', p.attname, a.attname), ' AND '), "
      "  string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ') "
      "FROM pg_constraint c, unnest(c.conkey, c.confkey) k(from_column, to_column) "
      "  , pg_attribute a, pg_attribute p "
      "WHERE c.contype = 'f' AND c.connamespace = "
      "to_regnamespace(quote_ident(current_schema())) "
      "  AND a.attrelid = c.conrelid AND a.attnum = k.from_column "
      "  AND p.attrelid = c.confrelid AND p.attnum = k.to_column "
      "GROUP BY c.oid, c.conrelid, c.confrelid ORDER BY 1, 2");
  if (!rows) return rows.error();
  while (rows->next()) keys.push_back({rows->text(0), rows->text(1), rows->text(2), rows->text(3)});
  for (const Key& key : keys) {
    auto orphans = connection.query(
        fmt::format("--pg SELECT count(*) FROM {} c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} p "
                    "WHERE {})",
                    key.from, key.given, key.to, key.match));
    if (!orphans) return orphans.error();
    if (orphans->next() && orphans->integer(0) > 0) {
      findings.push_back(fmt::format("{} rows of '{}' point at nothing in '{}'",
                                     orphans->integer(0), key.from, key.to));
    }
  }
  return findings;
}

}  // namespace

Result<std::unique_ptr<Driver>> open_postgres(const std::string& text, const Options& options) {
  auto url = parse_postgres_url(text);
  if (!url) return url.error();
  return std::unique_ptr<Driver>(new PostgresDriver(*std::move(url), options));
}

}  // namespace slipway::db
