#include <poll.h>

#include <thread>

#include "base/hash.h"
#include "base/log.h"
#include "db/postgres_internal.h"
#include "db/tokens_internal.h"

namespace slipway::db {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kMostPrepared = 512;     // statements a connection keeps
constexpr milliseconds kGrace{5'000};          // for an answer, after the server's own time is up
constexpr milliseconds kSettleWithin{10'000};  // to find out what became of a commit
constexpr milliseconds kSettleEvery{50};

// What a URL that does not say otherwise connects with: a server that is gone is noticed in
// seconds, also behind a network that swallows packets.
constexpr std::pair<const char*, const char*> kDefaults[] = {
    {"application_name", "slipway"}, {"connect_timeout", "5"},  {"keepalives_idle", "10"},
    {"keepalives_interval", "5"},    {"keepalives_count", "3"}, {"tcp_user_timeout", "20000"},
    {"client_encoding", "UTF8"}};

char kind_of(const Value& value) {
  constexpr char kKinds[] = {'n', 'i', 'r', 't', 'b'};
  return kKinds[static_cast<std::size_t>(value.kind)];
}

ListKind list_of(const Value& value) {
  return value.kind == Value::Kind::text ? list_kind(value.text) : ListKind::empty;
}

bool is_good(const PGresult* result) {
  const auto status = PQresultStatus(result);
  return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

// libpq's message, which may name host and user, but never holds a password.
std::string one_line(std::string message) {
  while (!message.empty() && message.back() == '\n') message.pop_back();
  std::ranges::replace_if(message, [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return message;
}

}  // namespace

Result<std::unique_ptr<PostgresSession>> PostgresSession::open(const PostgresUrl& url,
                                                               const Options& options,
                                                               bool read_only,
                                                               SharedCatalog& catalog) {
  auto session =
      std::unique_ptr<PostgresSession>(new PostgresSession(url, options, read_only, catalog));
  if (auto connected = session->connect(); !connected) return connected.error();
  return session;
}

Result<void> PostgresSession::connect() {
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : kDefaults) {
    keys.push_back(key);
    values.push_back(value);
  }
  if (!read_only_) {
    keys.push_back("target_session_attrs");
    values.push_back("read-write");
  }
  // Last, so that what the URL says counts.
  keys.insert(keys.end(), {"dbname", nullptr});
  values.insert(values.end(), {url_.full.c_str(), nullptr});
  known_.clear();
  prepared_ = 0;
  in_transaction_ = false;
  connection_.reset(PQconnectdbParams(keys.data(), values.data(), 1));
  PGconn* connection = connection_.get();
  if (connection == nullptr) return resource_exhausted("no memory for a connection");
  if (PQstatus(connection) != CONNECTION_OK) {
    const std::string message =
        fmt::format("cannot connect to the database '{}': {}", url_.without_password,
                    one_line(PQerrorMessage(connection)));
    // libpq gives no code for what keeps a connection from being made.
    const bool refused = message.find("authentication failed") != std::string::npos ||
                         message.find("no password supplied") != std::string::npos;
    const bool unknown = message.find("database \"") != std::string::npos &&
                         message.find("does not exist") != std::string::npos;
    connection_.reset();
    if (refused) {
      return unauthenticated(message +
                             ". Give the password in PGPASSWORD or in a file that the URL names "
                             "with passfile=");
    }
    if (unknown) return not_found(message + ". Make it first, for example with createdb");
    return unavailable(message);
  }
  PQsetNoticeProcessor(connection, [](void*, const char*) {}, nullptr);
  if (PQserverVersion(connection) < 130'000) {
    connection_.reset();
    return failed_precondition("the database '" + url_.without_password +
                               "' is older than PostgreSQL 13");
  }
  const char* encoding = PQparameterStatus(connection, "server_encoding");
  if (encoding == nullptr || std::string_view(encoding) != "UTF8") {
    const std::string found = encoding == nullptr ? "unknown" : encoding;
    connection_.reset();
    return failed_precondition(
        fmt::format("the database '{}' has the encoding {}, and slipway needs UTF8: make it with "
                    "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
                    url_.without_password, found));
  }
  // A server that notices a client's end in the middle of a statement frees its locks at once.
  const char* notice =
      PQserverVersion(connection) >= 140'000 ? "SET client_connection_check_interval = 5000; " : "";
  // A process that hangs in the middle of a write must not keep the others out for ever.
  const auto set = simple(fmt::format(
      "{}SET standard_conforming_strings = on; SET jit = off; SET client_min_messages = warning; "
      "SET statement_timeout = {}; SET lock_timeout = {}; "
      "SET idle_in_transaction_session_timeout = {}; SET synchronous_commit = {}",
      notice, options_.statement_timeout.count(), options_.lock_wait.count(),
      read_only_ ? 600'000 : 60'000, options_.durable ? "on" : "off"));
  if (!set) return set.error();
  // Several homes may live in one database, each in a schema of its own.
  const auto schema = ask("SELECT coalesce(current_schema(), '')");
  if (!schema) return schema.error();
  lock_key_ = static_cast<std::int64_t>(hash64("slipway writes " + *schema));
  return {};
}

Error PostgresSession::lose(std::string_view why) {
  if (connection_ != nullptr) {
    log::warn("the connection to the database was lost",
              {{"database", url_.without_password}, {"why", why}});
  }
  connection_.reset();
  in_transaction_ = false;
  catalog_.forget();
  return unavailable(
      fmt::format("the connection to the database '{}' was lost: {}", url_.without_password, why));
}

Result<void> PostgresSession::ensure() {
  if (!lost()) return {};
  auto connected = connect();
  if (connected)
    log::info("connected to the database again", {{"database", url_.without_password}});
  return connected;
}

Result<ResultPtr> PostgresSession::answer(std::string_view doing) {
  const auto deadline = steady_clock::now() + options_.statement_timeout + kGrace;
  ResultPtr last;
  while (true) {
    while (PQisBusy(connection_.get()) != 0) {
      const auto left =
          std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now()).count();
      if (left <= 0 && !patient_) return lose("the server does not answer");
      pollfd socket{.fd = PQsocket(connection_.get()), .events = POLLIN, .revents = 0};
      const int ready = ::poll(&socket, 1, patient_ ? -1 : static_cast<int>(left));
      if (ready < 0 && errno != EINTR) return lose("the connection cannot be watched");
      if (ready > 0 && PQconsumeInput(connection_.get()) == 0)
        return lose(one_line(PQerrorMessage(connection_.get())));
    }
    ResultPtr result(PQgetResult(connection_.get()));
    if (result == nullptr) break;
    // The first failure says more than what follows it.
    if (last == nullptr || is_good(last.get())) last = std::move(result);
  }
  if (PQstatus(connection_.get()) != CONNECTION_OK)
    return lose(last == nullptr ? one_line(PQerrorMessage(connection_.get()))
                                : one_line(PQresultErrorMessage(last.get())));
  if (last == nullptr) return internal("the database gave no answer");
  if (is_good(last.get())) return last;
  const char* state = PQresultErrorField(last.get(), PG_DIAG_SQLSTATE);
  if (state != nullptr && std::string_view(state) == "25006" && !read_only_)
    return lose("the server takes no writes any more, as a standby");  // the next one may
  return postgres_error(last.get(), doing);
}

Result<ResultPtr> PostgresSession::simple(const std::string& sql) {
  if (lost()) return unavailable("the connection to the database is gone");
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0)
    return lose(one_line(PQerrorMessage(connection_.get())));
  return answer("a statement failed");
}

Result<std::string> PostgresSession::ask(const std::string& sql) {
  auto result = simple(sql);
  if (!result) return result.error();
  if (PQntuples(result->get()) == 0) return std::string();
  return std::string(PQgetvalue(result->get(), 0, 0));
}

Result<void> PostgresSession::command(const std::string& sql) {
  auto result = simple(sql);
  if (!result) return result.error();
  return {};
}

// Transactions.

// An idle connection may have died since it was used: then a new one is made, and nothing is lost.
Result<void> PostgresSession::begin(const std::string& sql) {
  if (auto connected = ensure(); !connected) return connected;
  if (prepared_ > kMostPrepared) {
    if (auto dropped = command("DEALLOCATE ALL"); dropped) {
      known_.clear();
      prepared_ = 0;
    }
  }
  Result<void> begun;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (auto connected = ensure(); !connected) return connected;
    begun = command(sql);
    if (begun || !lost()) break;
  }
  in_transaction_ = begun.has_value();
  if (!begun && !lost()) (void)command("ROLLBACK").has_value();
  return begun;
}

Result<void> PostgresSession::begin_read() {
  return begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
}

Result<void> PostgresSession::end_read() {
  transaction_ended();
  if (lost()) return unavailable("the connection to the database was lost");
  return command("COMMIT");
}

// The lock is taken before the first statement that looks at anything, and each statement looks
// anew, so a write sees all that came before it, as under SQLite's one lock.
Result<void> PostgresSession::begin_write() {
  auto begun = begin(fmt::format(
      "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock({})",
      lock_key_));
  if (begun || begun.error().code != Code::unavailable || lost()) return begun;
  return unavailable("another process has kept the database locked for too long (" +
                     begun.error().message + "): try again");
}

Result<void> PostgresSession::commit() {
  if (lost()) return unavailable("the connection to the database was lost");
  if (PQtransactionStatus(connection_.get()) == PQTRANS_INERROR) {
    return internal("a statement of this write failed, and its body went on");
  }
  // The transaction's number tells what became of it if the answer to COMMIT never comes. It is
  // empty when nothing was changed.
  const auto transaction = ask("SELECT coalesce(pg_current_xact_id_if_assigned()::text, '')");
  if (!transaction) return transaction.error();
  auto committed = command("COMMIT");
  transaction_ended();
  if (committed || !lost()) return committed;
  return settle(*transaction);
}

// https://www.postgresql.org/docs/15/functions-info.html: pg_xact_status
Result<void> PostgresSession::settle(const std::string& transaction) {
  if (transaction.empty()) return {};
  const auto deadline = steady_clock::now() + kSettleWithin;
  do {
    if (auto connected = ensure(); connected) {
      const auto status = ask("SELECT coalesce(pg_xact_status('" + transaction + "'), '')");
      if (status && *status == "committed") return {};
      if (status && *status == "aborted") {
        return unavailable(
            "the connection to the database was lost, and nothing of this write was kept: try "
            "again");
      }
    }
    std::this_thread::sleep_for(kSettleEvery);
  } while (steady_clock::now() < deadline);
  return unavailable(
      "the connection to the database was lost while it kept this write, and whether it did is not "
      "known: look before you write it again");
}

void PostgresSession::rollback() {
  if (!lost() && PQtransactionStatus(connection_.get()) != PQTRANS_IDLE)
    (void)command("ROLLBACK").has_value();
  transaction_ended();
}

void PostgresSession::transaction_ended() {
  in_transaction_ = false;
  if (defined_) catalog_.forget();
  defined_ = false;
}

// Statements.

Result<std::shared_ptr<const Catalog>> PostgresSession::load_catalog() {
  auto result = simple(
      "SELECT c.relname, a.attname, a.attnotnull, a.attidentity <> '', k.place IS NOT NULL "
      "FROM pg_class c "
      "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
      "LEFT JOIN (SELECT i.indrelid, u.attnum, u.place FROM pg_index i, "
      "  unnest(i.indkey) WITH ORDINALITY u(attnum, place) WHERE i.indisprimary) k "
      "  ON k.indrelid = c.oid AND k.attnum = a.attnum "
      "WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relkind IN "
      "('r', 'p') "
      "ORDER BY c.relname, k.place, a.attnum");
  if (!result) return result.error();
  auto catalog = std::make_shared<Catalog>();
  for (int row = 0; row < PQntuples(result->get()); ++row) {
    const auto field = [&](int column) {
      return std::string(PQgetvalue(result->get(), row, column));
    };
    Catalog::Table& table = catalog->tables[field(0)];
    if (field(2) == "f") catalog->nullable.insert(field(1));
    if (field(3) == "t") table.identity = field(1);
    if (field(4) == "t") table.key.push_back(field(1));
  }
  catalog_.set(catalog);
  return std::shared_ptr<const Catalog>(std::move(catalog));
}

Result<Translation> PostgresSession::translated(std::string_view sql,
                                                std::span<const ListKind> lists) {
  auto catalog = catalog_.get();
  const bool fresh = catalog == nullptr;
  if (fresh) {
    auto loaded = load_catalog();
    if (!loaded) return loaded.error();
    catalog = *loaded;
  }
  auto translation = translate(sql, lists, *catalog);
  const bool stale = !fresh && translation && !translation->table.empty() &&
                     !catalog->tables.contains(translation->table);
  if (!stale && (translation || fresh)) return translation;
  auto loaded = load_catalog();  // somebody made tables meanwhile
  if (!loaded) return loaded.error();
  return translate(sql, lists, **loaded);
}

Result<const PostgresSession::Prepared*> PostgresSession::prepare(std::string_view sql,
                                                                  std::span<const Value> values) {
  auto found = known_.find(sql);
  std::vector<ListKind> lists;
  std::string kinds;
  const auto describe = [&](const std::vector<int>& list_parameters) {
    lists.assign(values.size(), ListKind::none);
    kinds.clear();
    for (const Value& value : values) kinds += kind_of(value);
    for (const int number : list_parameters) {
      const auto place = static_cast<std::size_t>(number - 1);
      if (place >= values.size()) continue;
      lists[place] = list_of(values[place]);
      kinds += static_cast<char>('0' + static_cast<int>(lists[place]));
    }
  };
  if (found == known_.end()) {
    lists.assign(values.size(), ListKind::texts);
    auto first = translated(sql, lists);  // to learn which parameters are lists
    if (!first) return first.error();
    found = known_.try_emplace(std::string(sql)).first;
    found->second.lists = first->lists;
  }
  describe(found->second.lists);
  for (const Prepared& prepared : found->second.prepared) {
    if (prepared.kinds == kinds) return &prepared;
  }
  auto translation = translated(sql, lists);
  if (!translation) return translation.error();
  if (translation->parameters != static_cast<int>(values.size())) {
    return internal(fmt::format("a statement has {} parameters and got {} values: {}",
                                translation->parameters, values.size(), sql));
  }
  const auto parameters = Parameters::of(values, translation->patterns, translation->lists);
  if (!parameters) return parameters.error();
  Prepared prepared{.kinds = std::move(kinds),
                    .name = "s" + std::to_string(next_name_++),
                    .translation = *std::move(translation)};
  if (PQsendPrepare(connection_.get(), prepared.name.c_str(), prepared.translation.sql.c_str(),
                    parameters->count(), parameters->types()) == 0) {
    return lose(one_line(PQerrorMessage(connection_.get())));
  }
  auto made = answer("cannot prepare '" + prepared.translation.sql + "'");
  if (!made) return made.error();
  ++prepared_;
  found->second.prepared.push_back(std::move(prepared));
  return &found->second.prepared.back();
}

Result<ResultPtr> PostgresSession::execute(std::string_view sql, std::span<const Value> values) {
  if (lost()) return unavailable("the connection to the database was lost");
  const auto prepared = prepare(sql, values);
  if (!prepared) return prepared.error();
  const Translation& translation = (*prepared)->translation;
  const auto parameters = Parameters::of(values, translation.patterns);
  if (!parameters) return parameters.error();
  if (PQsendQueryPrepared(connection_.get(), (*prepared)->name.c_str(), parameters->count(),
                          parameters->pointers(), parameters->lengths(), parameters->formats(),
                          1) == 0) {
    return lose(one_line(PQerrorMessage(connection_.get())));
  }
  auto result = answer("a statement failed");
  if (!result) return result;
  if (translation.defines) {
    defined_ = true;
    catalog_.forget();
  }
  const std::string_view touched = PQcmdTuples(result->get());
  changes_ = 0;
  std::from_chars(touched.data(), touched.data() + touched.size(), changes_);
  if (translation.returns_row_id && PQntuples(result->get()) > 0) {
    auto returned = make_cursor(*std::move(result));
    while (returned->next()) row_id_ = returned->integer(0);
    return ResultPtr();
  }
  return result;
}

Result<void> PostgresSession::run(std::string_view sql, std::span<const Value> values) {
  auto result = execute(sql, values);
  if (!result) return result.error();
  return {};
}

Result<ResultPtr> PostgresSession::binary(const std::string& sql, const Parameters& parameters) {
  if (lost()) return unavailable("the connection to the database was lost");
  if (PQsendQueryParams(connection_.get(), sql.c_str(), parameters.count(), parameters.types(),
                        parameters.pointers(), parameters.lengths(), parameters.formats(),
                        1) == 0) {
    return lose(one_line(PQerrorMessage(connection_.get())));
  }
  return answer("a query failed");
}

namespace {

// Many rows, batch by batch, through a cursor of the server's.
class BatchCursor final : public Cursor {
 public:
  BatchCursor(PostgresSession& session, std::string name)
      : session_(session), name_(std::move(name)), batch_(make_cursor(nullptr)) {}
  ~BatchCursor() override {
    if (session_.in_transaction()) (void)session_.simple("CLOSE " + name_).has_value();
  }

  bool next() override {
    if (batch_->next()) return true;
    if (done_) return false;
    auto fetched = session_.binary(fmt::format("FETCH FORWARD {} FROM {}", kBatchRows, name_), {});
    if (!fetched) {
      status_ = fetched.error();
      done_ = true;
      return false;
    }
    done_ = PQntuples(fetched->get()) < kBatchRows;
    batch_ = make_cursor(*std::move(fetched));
    return batch_->next();
  }
  Result<void> status() const override { return status_; }
  bool is_null(int column) const override { return batch_->is_null(column); }
  std::int64_t integer(int column) const override { return batch_->integer(column); }
  double real(int column) const override { return batch_->real(column); }
  std::string_view view(int column) const override { return batch_->view(column); }

 private:
  PostgresSession& session_;
  std::string name_;
  std::unique_ptr<Cursor> batch_;
  Result<void> status_;
  bool done_ = false;
};

}  // namespace

Result<std::unique_ptr<Cursor>> PostgresSession::open_batches(std::string_view sql,
                                                              std::span<const Value> values) {
  std::vector<ListKind> lists;
  for (const Value& value : values) lists.push_back(list_of(value));
  const auto translation = translated(sql, lists);
  if (!translation) return translation.error();
  const auto parameters = Parameters::of(values, translation->patterns, translation->lists);
  if (!parameters) return parameters.error();
  const std::string name = "many" + std::to_string(next_name_++);
  auto declared = binary(fmt::format("DECLARE {} NO SCROLL CURSOR FOR {}", name, translation->sql),
                         *parameters);
  if (!declared) return declared.error();
  return std::unique_ptr<Cursor>(new BatchCursor(*this, name));
}

Result<std::unique_ptr<Cursor>> PostgresSession::query(std::string_view sql,
                                                       std::span<const Value> values) {
  if (sql.find(kManyRows) != std::string_view::npos) return open_batches(sql, values);
  auto result = execute(sql, values);
  if (!result) return result.error();
  return make_cursor(*std::move(result));
}

Result<void> PostgresSession::run_script(std::string_view script) {
  // A migration may take its time.
  struct Patience {
    bool& patient;
    ~Patience() { patient = false; }
  } const patience{patient_};
  patient_ = true;
  if (in_transaction_) {
    if (auto set = command("SET LOCAL statement_timeout = 0"); !set) return set;
  }
  for (const auto& statement : split_statements(script)) {
    auto translation = translated(statement, {});
    if (!translation) return translation.error().at(statement);
    if (auto ran = command(translation->sql); !ran)
      return ran.error().at("'" + translation->sql + "'");
    if (translation->defines) {
      defined_ = true;
      catalog_.forget();
    }
  }
  return {};
}

}  // namespace slipway::db
