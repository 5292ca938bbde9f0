#include "db/dialect_internal.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "db/tokens_internal.h"

namespace slipway::db {
namespace {

constexpr std::string_view kDirective = "--pg ";

// Words that name columns of ours, or may, and that PostgreSQL keeps for itself
// (https://www.postgresql.org/docs/15/sql-keywords-appendix.html), without those that SQLite
// reserves too.
constexpr std::array<std::string_view, 25> kReserved = {
    "analyse",     "any",          "array",        "asymmetric", "authorization",
    "binary",      "both",         "concurrently", "fetch",      "freeze",
    "grant",       "lateral",      "leading",      "localtime",  "only",
    "placing",     "session_user", "similar",      "some",       "symmetric",
    "tablesample", "trailing",     "user",         "variadic",   "window"};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

// The lines that a statement has for PostgreSQL alone, if it has any.
std::optional<std::string> own_text(std::string_view sql) {
  std::string text;
  bool found = false;
  while (!sql.empty()) {
    const auto end = std::min(sql.find('\n'), sql.size());
    std::string_view line = sql.substr(0, end);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.starts_with(kDirective)) {
      text.append(line.substr(kDirective.size())).append("\n");
      found = true;
    }
    sql.remove_prefix(std::min(end + 1, sql.size()));
  }
  if (!found) return std::nullopt;
  return text;
}

// N of the highest $N.
int most_parameter(std::string_view sql) {
  int most = 0;
  for (std::size_t at = sql.find('$'); at != std::string_view::npos; at = sql.find('$', at + 1)) {
    int number = 0;
    std::from_chars(sql.data() + at + 1, sql.data() + sql.size(), number);
    most = std::max(most, number);
  }
  return most;
}

class Translator {
 public:
  Translator(std::vector<Token> tokens, std::span<const ListKind> lists, const Catalog& catalog)
      : in_(std::move(tokens)), lists_(lists), catalog_(catalog) {}

  Result<Translation> run() {
    while (!in_.empty() && in_.back().text == ";") in_.pop_back();
    out_.sql.reserve(512);
    number_parameters();
    for (const Token& token : in_) has_left_join_ |= is(token, "LEFT");
    if (at(0, "CREATE") && (at(1, "TRIGGER") || at(2, "TRIGGER"))) return trigger();
    if (at(0, "DROP") && at(1, "TRIGGER")) return drop_trigger();
    defines_table_ = (at(0, "CREATE") && at(1, "TABLE")) || (at(0, "ALTER") && at(1, "TABLE"));
    defines_index_ = at(0, "CREATE") && (at(1, "INDEX") || at(2, "INDEX"));
    out_.defines = defines_table_ || defines_index_ || at(0, "DROP") || at(0, "CREATE");
    if (at(0, "PRAGMA")) return unimplemented("PRAGMA is SQLite's own");
    if (auto begun = begin_insert(); !begun) return begun.error();
    while (i_ < in_.size()) {
      if (i_ == fence_end_) end_fixed_join();
      if (auto done = step(); !done) return done.error();
    }
    if (i_ == fence_end_) end_fixed_join();
    end_order_term();
    if (auto ended = end_insert(); !ended) return ended.error();
    return std::move(out_);
  }

 private:
  static constexpr std::string_view kAfterJoin[] = {"JOIN",  "LEFT",  "INNER", "CROSS", "WHERE",
                                                    "GROUP", "ORDER", "LIMIT", "UNION"};

  // Looking at what comes.
  bool at(std::size_t index, std::string_view word) const {
    return index < in_.size() && is(in_[index], word);
  }
  bool next_is(std::size_t ahead, std::string_view word) const { return at(i_ + ahead, word); }
  const Token* previous() const { return i_ == 0 ? nullptr : &in_[i_ - 1]; }

  void put(std::string_view text) {
    if (!out_.sql.empty()) out_.sql += ' ';
    out_.sql += text;
  }
  void put(const Token& token) {
    if (token.kind == Token::Kind::parameter) {
      put("$" + std::to_string(token.number));
    } else if (token.kind == Token::Kind::blob) {
      put("'\\x" + token.text + "'::bytea");
    } else if (token.kind == Token::Kind::word &&
               std::ranges::binary_search(kReserved, token.lower)) {
      put('"' + token.lower + '"');
    } else {
      put(token.text);
    }
  }

  void number_parameters() {
    int most = 0;
    for (Token& token : in_) {
      if (token.kind != Token::Kind::parameter) continue;
      if (token.number == 0) token.number = most + 1;
      most = std::max(most, token.number);
    }
    out_.parameters = most;
  }

  // One construct that has to change, or else one token as it is.
  Result<void> step() {
    const Token& token = in_[i_];
    if (token.text == "(") {
      depth_.push_back({});
    }
    if (token.text == ")") {
      end_order_term();
      if (!depth_.empty()) depth_.pop_back();
    }
    if (token.kind == Token::Kind::word) {
      if (auto done = word(); !done || *done) return done ? Result<void>() : done.error();
    }
    if (token.text == "," && in_order()) end_order_term();
    if (token.text == "==") {
      put("=");
    } else {
      put(in_[i_]);
    }
    ++i_;
    if (token.text == "," && in_order()) begin_order_term();
    if (token.text == "(" && defines_index_ && depth_.size() == 1 && !index_begun_) {
      index_begun_ = true;
      depth_.back().order = true;
      begin_order_term();
    }
    return {};
  }

  // True when it has written what the word begins.
  Result<bool> word() {
    if (defines_table_ && column_type()) return true;
    if (next_is(0, "WHERE") && next_is(1, "1") && !next_is(2, "=")) return replace(2, "WHERE true");
    if (next_is(0, "ORDER") && next_is(1, "BY")) {
      put("ORDER BY");
      i_ += 2;
      (depth_.empty() ? order_at_top_ : depth_.back().order) = true;
      begin_order_term();
      return true;
    }
    if (next_is(0, "LIMIT")) return limit();
    if (next_is(0, "GLOB")) return glob();
    if (next_is(0, "LIKE")) return like();
    if (next_is(0, "IN") || (next_is(0, "NOT") && next_is(1, "IN"))) return in_list();
    if (next_is(0, "JSON_EACH")) return replace(1, "slipway_json_each");
    if (next_is(0, "CROSS") && next_is(1, "JOIN") && joins_on()) return begin_fixed_join();
    if (next_is(0, "INDEXED") && next_is(1, "BY")) return replace(3, "");
    if (next_is(0, "NOT") && next_is(1, "INDEXED")) return replace(2, "");
    if (next_is(0, "IS")) return is_same();
    if (next_is(0, "AS") && cast_type()) return true;
    if (next_is(1, "(")) {
      if (next_is(0, "IFNULL")) return replace(1, "coalesce");
      if (next_is(0, "INSTR")) return replace(1, "strpos");
      if (next_is(0, "MAX") && arguments(i_ + 1) > 1) return replace(1, "greatest");
      if (next_is(0, "MIN") && arguments(i_ + 1) > 1) return replace(1, "least");
    }
    if (next_is(0, "ON") && next_is(1, "CONFLICT") && next_is(2, "DO") && next_is(3, "UPDATE")) {
      const auto key = key_of(table_);
      if (!key) return key.error();
      return replace(3, "ON CONFLICT (" + *key + ") DO");
    }
    return false;
  }

  bool replace(std::size_t tokens, std::string_view text) {
    if (!text.empty()) put(text);
    i_ += tokens;
    return true;
  }

  // Tables.

  bool column_type() {
    if (depth_.empty() && next_is(0, "WITHOUT") && next_is(1, "ROWID"))
      return replace(2, "") && drop_comma();
    if (depth_.empty() && next_is(0, "STRICT")) return replace(1, "") && drop_comma();
    const Token* before = previous();
    if (before == nullptr || before->text == "(" || before->text == ",") return false;
    if (next_is(0, "INTEGER") && next_is(1, "PRIMARY") && next_is(2, "KEY")) {
      return replace(next_is(3, "AUTOINCREMENT") ? 4 : 3,
                     "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY");
    }
    // A type stands behind its column's name, and the name stands first.
    const Token* name_before = i_ < 2 ? nullptr : &in_[i_ - 2];
    const bool is_type =
        name_before != nullptr && (name_before->text == "(" || name_before->text == "," ||
                                   is(*name_before, "COLUMN") || is(*name_before, "ADD"));
    if (!is_type) return false;
    const auto type = type_of(in_[i_].lower);
    if (type.empty()) return false;
    return replace(1, type == "text" ? "text COLLATE \"C\"" : type);
  }

  // Between STRICT and WITHOUT ROWID.
  bool drop_comma() {
    if (next_is(0, ",")) ++i_;
    return true;
  }

  static std::string_view type_of(std::string_view word) {
    if (word == "integer" || word == "int" || word == "bigint") return "bigint";
    if (word == "real" || word == "double" || word == "float") return "double precision";
    if (word == "text") return "text";
    if (word == "blob") return "bytea";
    return {};
  }

  bool cast_type() {
    const auto type = i_ + 1 < in_.size() ? type_of(in_[i_ + 1].lower) : std::string_view();
    if (type.empty() || !next_is(2, ")")) return false;
    return replace(2, "AS " + std::string(type));
  }

  // Conditions.

  Result<bool> limit() {
    end_order_term();
    (depth_.empty() ? order_at_top_ : depth_.back().order) = false;
    if (next_is(1, "-") && next_is(2, "1")) return replace(3, "LIMIT ALL");
    if (i_ + 1 >= in_.size() || in_[i_ + 1].kind != Token::Kind::parameter) {
      put("LIMIT");
      ++i_;
      return true;
    }
    const std::string number = "$" + std::to_string(in_[i_ + 1].number);
    return replace(2, "LIMIT nullif(greatest(" + number + "::bigint, -1), -1)");
  }

  Result<bool> glob() {
    if (i_ + 1 >= in_.size() || in_[i_ + 1].kind != Token::Kind::parameter)
      return unimplemented("GLOB takes a parameter as its pattern");
    out_.patterns.push_back(in_[i_ + 1].number);
    put("LIKE");
    put(in_[i_ + 1]);
    i_ += 2;
    return true;
  }

  Result<bool> like() {
    if (i_ + 1 >= in_.size() ||
        (in_[i_ + 1].kind != Token::Kind::parameter && in_[i_ + 1].kind != Token::Kind::text)) {
      return unimplemented("LIKE takes a parameter or a text as its pattern");
    }
    put("ILIKE");
    put(in_[i_ + 1]);
    i_ += 2;
    if (!next_is(0, "ESCAPE")) put("ESCAPE ''");
    return true;
  }

  Result<bool> is_same() {
    const bool negated = next_is(1, "NOT");
    const std::size_t operand = negated ? 2 : 1;
    for (const std::string_view word : {"NULL", "TRUE", "FALSE", "DISTINCT", "NOT"}) {
      if (next_is(operand, word)) {
        put("IS");
        ++i_;
        return true;
      }
    }
    return replace(operand, negated ? "IS DISTINCT FROM" : "IS NOT DISTINCT FROM");
  }

  // [NOT] IN ( SELECT value FROM json_each ( ? ) )
  Result<bool> in_list() {
    const bool negated = next_is(0, "NOT");
    const std::size_t from = negated ? 1 : 0;
    constexpr std::string_view kShape[] = {"IN", "(", "SELECT", "VALUE", "FROM", "JSON_EACH", "("};
    for (std::size_t k = 0; k < std::size(kShape); ++k) {
      if (!next_is(from + k, kShape[k])) return false;
    }
    const std::size_t operand = i_ + from + std::size(kShape);
    if (operand + 2 >= in_.size() || in_[operand].kind != Token::Kind::parameter ||
        in_[operand + 1].text != ")" || in_[operand + 2].text != ")") {
      return false;
    }
    const int number = in_[operand].number;
    out_.lists.push_back(number);
    const auto place = static_cast<std::size_t>(number - 1);
    const ListKind kind = place < lists_.size() ? lists_[place] : ListKind::texts;
    // A subquery of its own is evaluated once, whatever the plan.
    std::string list = kind == ListKind::integers
                           ? fmt::format("((SELECT slipway_integers(${}))::bigint[])", number)
                           : fmt::format("((SELECT slipway_texts(${}))::text[])", number);
    if (kind == ListKind::empty) list = "('{}')";  // fits any type
    i_ = operand + 3;
    put(negated ? "<> ALL" : "= ANY");
    put(list);
    return true;
  }

  // Whether the table after CROSS JOIN is joined by a condition, which SQLite allows.
  bool joins_on() const {
    for (std::size_t k = i_ + 2; k < in_.size() && k < i_ + 6; ++k) {
      if (is(in_[k], "ON")) return true;
      if (is(in_[k], "JOIN") || is(in_[k], "WHERE") || in_[k].text == ",") return false;
    }
    return false;
  }

  // SQLite keeps the order of tables that are cross-joined. PostgreSQL's planner keeps it, too, and
  // looks the second up for each row of the first, when that is a subquery it cannot take apart:
  // one with OFFSET.
  bool begin_fixed_join() {
    put("CROSS JOIN LATERAL (SELECT * FROM");
    i_ += 2;
    while (!next_is(0, "ON")) {
      fence_alias_ = in_[i_].text;
      put(in_[i_++]);
    }
    replace(1, "WHERE");
    int depth = 0;
    for (fence_end_ = i_; fence_end_ < in_.size(); ++fence_end_) {
      const Token& token = in_[fence_end_];
      if (token.text == "(") ++depth;
      if (token.text == ")" && --depth < 0) break;
      const auto ends = [&](std::string_view word) { return is(token, word); };
      if (depth == 0 && std::ranges::any_of(kAfterJoin, ends)) break;
    }
    return true;
  }

  void end_fixed_join() {
    put("OFFSET 0) " + fence_alias_);
    fence_end_ = std::string::npos;
  }

  // How many arguments the call has whose "(" is at `open`.
  std::size_t arguments(std::size_t open) const {
    std::size_t count = 1;
    int depth = 0;
    for (std::size_t k = open; k < in_.size(); ++k) {
      if (in_[k].text == "(") ++depth;
      if (in_[k].text == ")" && --depth == 0) break;
      if (in_[k].text == "," && depth == 1) ++count;
    }
    return count;
  }

  // Order. SQLite takes null as the smallest value, PostgreSQL as the greatest. The words that say
  // so would keep PostgreSQL from reading a plain index in order, so they are left out where there
  // are no nulls.

  bool in_order() const { return depth_.empty() ? order_at_top_ : depth_.back().order; }

  void begin_order_term() { term_ = i_; }

  void end_order_term() {
    if (!term_ || !in_order()) return;
    std::size_t begin = *term_;
    std::size_t end = i_;
    term_.reset();
    if (begin >= end) return;
    bool descending = false;
    if (is(in_[end - 1], "DESC") || is(in_[end - 1], "ASC")) {
      descending = is(in_[end - 1], "DESC");
      --end;
    } else if (is(in_[end - 1], "FIRST") || is(in_[end - 1], "LAST")) {
      return;
    }
    // The beginning of a text is null where the text is.
    if (is(in_[begin], "SUBSTR") && begin + 1 < end && in_[begin + 1].text == "(") {
      begin += 2;
      std::size_t comma = begin;
      while (comma < end && in_[comma].text != ",") ++comma;
      end = comma;
    }
    const bool is_column = end - begin == 1 || (end - begin == 3 && in_[begin + 1].text == ".");
    const bool has_nulls = is_column && !has_left_join_
                               ? catalog_.nullable.contains(in_[end - 1].lower)
                               : !defines_index_;
    if (has_nulls) put(descending ? "NULLS LAST" : "NULLS FIRST");
  }

  // Inserts.

  Result<void> begin_insert() {
    if (at(0, "REPLACE") && at(1, "INTO")) {
      conflict_ = Conflict::replace;
      i_ = 2;
    } else if (at(0, "INSERT") && at(1, "OR")) {
      if (!at(2, "IGNORE") && !at(2, "REPLACE"))
        return unimplemented("INSERT OR takes IGNORE or REPLACE");
      conflict_ = at(2, "IGNORE") ? Conflict::ignore : Conflict::replace;
      i_ = 4;
    } else if (at(0, "INSERT") && at(1, "INTO")) {
      i_ = 2;
    } else {
      return {};
    }
    put("INSERT INTO");
    if (i_ >= in_.size()) return {};
    table_ = in_[i_].lower;
    out_.table = table_;
    for (std::size_t k = i_ + 2; at(i_ + 1, "(") && k < in_.size() && in_[k].text != ")"; ++k) {
      if (in_[k].text != ",") columns_.push_back(in_[k].lower);
    }
    return {};
  }

  Result<void> end_insert() {
    if (table_.empty()) return {};
    if (conflict_ == Conflict::ignore) put("ON CONFLICT DO NOTHING");
    if (conflict_ == Conflict::replace) {
      const auto key = key_of(table_);
      if (!key) return key.error();
      put("ON CONFLICT (" + *key + ") DO UPDATE SET");
      const auto& keys = catalog_.tables.find(table_)->second.key;
      bool first = true;
      for (const auto& column : columns_) {
        if (contains(keys, column)) continue;
        put(fmt::format("{}\"{}\" = excluded.\"{}\"", first ? "" : ", ", column, column));
        first = false;
      }
      if (first) return unimplemented("INSERT OR REPLACE names its columns");
    }
    const auto table = catalog_.tables.find(table_);
    if (table == catalog_.tables.end() || table->second.identity.empty() ||
        contains(columns_, table->second.identity)) {
      return {};
    }
    for (const Token& token : in_) {
      if (is(token, "RETURNING")) return {};
    }
    put("RETURNING \"" + table->second.identity + "\"");
    out_.returns_row_id = true;
    return {};
  }

  Result<std::string> key_of(const std::string& table) const {
    const auto found = catalog_.tables.find(table);
    if (found == catalog_.tables.end() || found->second.key.empty())
      return unimplemented("table '" + table + "' has no primary key to find a conflict by");
    std::string key;
    for (const auto& column : found->second.key) {
      if (!key.empty()) key += ", ";
      key += '"' + column + '"';
    }
    return key;
  }

  // CREATE TRIGGER name BEFORE|AFTER UPDATE|DELETE|INSERT ON table [FOR EACH ROW]
  // BEGIN SELECT RAISE ( ABORT , 'message' ) ; END
  Result<Translation> trigger() {
    std::size_t k = at(1, "TRIGGER") ? 2 : 3;
    if (at(k, "IF")) k += 3;
    const auto shape = [&](std::size_t from, std::initializer_list<std::string_view> words) {
      for (const auto word : words) {
        if (!at(from++, word)) return false;
      }
      return true;
    };
    if (k + 4 >= in_.size() || !at(k + 3, "ON")) return unknown_trigger();
    const std::string name = in_[k].text;
    const std::string when = in_[k + 1].text + " " + in_[k + 2].text;
    const std::string table = in_[k + 4].text;
    std::size_t body = k + 5;
    if (shape(body, {"FOR", "EACH", "ROW"})) body += 3;
    if (!shape(body, {"BEGIN", "SELECT", "RAISE", "(", "ABORT", ","}) || body + 9 >= in_.size() ||
        in_[body + 6].kind != Token::Kind::text || !shape(body + 7, {")", ";", "END"})) {
      return unknown_trigger();
    }
    out_.sql =
        fmt::format("CREATE TRIGGER {} {} ON {} FOR EACH ROW EXECUTE FUNCTION slipway_refuse({})",
                    name, when, table, in_[body + 6].text);
    out_.defines = true;
    return std::move(out_);
  }

  // DROP TRIGGER [IF EXISTS] name: PostgreSQL wants to know its table.
  Result<Translation> drop_trigger() {
    const bool if_exists = at(2, "IF");
    const std::size_t k = if_exists ? 4 : 2;
    if (k >= in_.size() || in_[k].kind != Token::Kind::word)
      return unimplemented("DROP TRIGGER takes a name");
    out_.sql = fmt::format(
        "DO $do$ DECLARE owner regclass; BEGIN SELECT tgrelid INTO {0} owner FROM pg_trigger WHERE "
        "tgname = '{1}' AND NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE "
        "relnamespace = to_regnamespace(quote_ident(current_schema()))); IF owner IS NOT NULL THEN "
        "EXECUTE format('DROP TRIGGER %I ON %s', '{1}', owner); END IF; END $do$",
        if_exists ? "" : "STRICT", in_[k].lower);
    out_.defines = true;
    return std::move(out_);
  }

  static Error unknown_trigger() {
    return unimplemented(
        "a trigger that does more than RAISE(ABORT, '…') needs lines of its own for PostgreSQL, "
        "which begin with '--pg '");
  }

  enum class Conflict { none, ignore, replace };
  struct Depth {
    bool order = false;  // inside these parentheses an ORDER BY has begun
  };

  std::vector<Token> in_;
  std::span<const ListKind> lists_;
  const Catalog& catalog_;
  Translation out_;
  std::size_t i_ = 0;
  std::vector<Depth> depth_;
  bool order_at_top_ = false;
  std::size_t fence_end_ = std::string::npos;  // where a join in a fixed order ends
  std::string fence_alias_;
  std::optional<std::size_t> term_;  // where the order's term begins that is being read
  bool has_left_join_ = false;
  bool defines_table_ = false;
  bool defines_index_ = false;
  bool index_begun_ = false;
  Conflict conflict_ = Conflict::none;
  std::string table_;  // of an INSERT
  std::vector<std::string> columns_;
};

}  // namespace

Result<Translation> translate(std::string_view sql, std::span<const ListKind> lists,
                              const Catalog& catalog) {
  if (auto own = own_text(sql)) {
    Translation translation;
    translation.sql = *std::move(own);
    translation.parameters = most_parameter(translation.sql);
    translation.defines = true;
    return translation;
  }
  auto tokens = tokenize(sql);
  if (!tokens) return tokens.error();
  return Translator(*std::move(tokens), lists, catalog).run();
}

Result<std::string> glob_to_like(std::string_view glob) {
  std::string like;
  for (std::size_t i = 0; i < glob.size(); ++i) {
    char c = glob[i];
    if (c == '*' || c == '?') {
      like += c == '*' ? '%' : '_';
      continue;
    }
    if (c == '[') {  // "[*]" stands for the character in it
      if (i + 2 >= glob.size() || glob[i + 2] != ']' || glob[i + 1] == '^')
        return unimplemented("GLOB's classes of characters do not work on PostgreSQL: '" +
                             std::string(glob) + "'");
      c = glob[i + 1];
      i += 2;
    }
    if (c == '%' || c == '_' || c == '\\') like += '\\';
    like += c;
  }
  return like;
}

ListKind list_kind(std::string_view json) {
  const auto skip = [&](std::string_view what) {
    json.remove_prefix(std::min(json.find_first_not_of(" \t\r\n"), json.size()));
    if (!json.starts_with(what)) return false;
    json.remove_prefix(what.size());
    return true;
  };
  if (!skip("[")) return ListKind::texts;
  if (skip("]")) return ListKind::empty;
  return skip("\"") ? ListKind::texts : ListKind::integers;
}

}  // namespace slipway::db
