// Statements on one DuckDB connection.
#include "data/engine_internal.h"

namespace slipway::data::duck {

std::string_view first_statement(std::string_view sql) {
  std::size_t i = 0;
  const auto skip_to = [&](std::string_view end) {
    const auto at = sql.find(end, i);
    i = at == std::string_view::npos ? sql.size() : at + end.size();
  };
  while (i < sql.size()) {
    const char c = sql[i];
    if (c == ';') return sql.substr(0, i);
    ++i;
    if (c == '\'' || c == '"') {
      skip_to(std::string_view(&c, 1));
    } else if (c == '-' && i < sql.size() && sql[i] == '-') {
      skip_to("\n");
    } else if (c == '/' && i < sql.size() && sql[i] == '*') {
      ++i;
      skip_to("*/");
    } else if (c == '$' && i < sql.size() && sql[i] == '$') {
      ++i;
      skip_to("$$");
    }
  }
  return sql;
}

Result<Bound> bind_select(duckdb_connection connection, std::string_view sql) {
  return bind_select(connection, sql, {sql, 0});
}

Result<Bound> bind_select(duckdb_connection connection, std::string_view sql,
                          const SqlText& place) {
  const std::string text(sql);
  Statements statements;
  const auto count = duckdb_extract_statements(connection, text.c_str(), statements.out());
  if (count == 0) {
    const char* report = duckdb_extract_statements_error(statements.get());
    if (report != nullptr && *report != 0) return translate(report, place);
    return invalid_argument("the SQL is empty; a SELECT is wanted");
  }
  if (count > 1)
    return invalid_argument(
        fmt::format("the SQL holds {} statements; one SELECT is wanted", count));
  Bound bound;
  if (duckdb_prepare_extracted_statement(connection, statements.get(), 0, bound.statement.out()) !=
      DuckDBSuccess) {
    const char* report = duckdb_prepare_error(bound.statement.get());
    return translate(report == nullptr ? "" : report, place);
  }
  if (duckdb_prepared_statement_type(bound.statement.get()) != DUCKDB_STATEMENT_TYPE_SELECT) {
    return invalid_argument("the SQL is not a SELECT; a SELECT is wanted");
  }
  if (duckdb_nparams(bound.statement.get()) > 0) {
    return invalid_argument("the SQL has parameters (? or $1), which nothing fills in");
  }
  const auto columns = duckdb_prepared_statement_column_count(bound.statement.get());
  std::set<std::string> seen;
  for (idx_t i = 0; i < columns; ++i) {
    const char* held = duckdb_prepared_statement_column_name(bound.statement.get(), i);
    std::string name = held == nullptr ? "" : held;
    duckdb_free(const_cast<char*>(held));
    if (!seen.insert(name).second) {
      return invalid_argument("column '" + name +
                              "' stands twice in the result; rename one of them with AS");
    }
    const auto raw = duckdb_prepared_statement_column_type(bound.statement.get(), i);
    bound.columns.push_back({std::move(name), target_of(raw), raw});
  }
  return bound;
}

Wrapped wrap(std::string_view sql, const std::vector<Column>& columns) {
  std::vector<std::string> outer;
  std::vector<std::string> inner;
  for (const auto& column : columns) {
    const auto name = quote_name(column.name);
    outer.push_back(column.target.cast.empty()
                        ? name
                        : fmt::format("CAST({0} AS {1}) AS {0}", name, column.target.cast));
    inner.push_back(name);
  }
  const auto head = fmt::format("SELECT {} FROM (", fmt::join(outer, ", "));
  // the line break ends a comment in the user's last line
  return {fmt::format("{}{}\n) AS t({})", head, sql, fmt::join(inner, ", ")), head.size()};
}

Result<void> run(duckdb_connection connection, const std::string& sql, const SqlText& text) {
  QueryResult result;
  if (duckdb_query(connection, sql.c_str(), result.get()) == DuckDBSuccess) return {};
  const char* report = duckdb_result_error(result.get());
  return translate(report == nullptr ? "" : report, text);
}

Result<std::vector<std::string>> texts(duckdb_connection connection, const std::string& sql) {
  QueryResult result;
  if (duckdb_query(connection, sql.c_str(), result.get()) != DuckDBSuccess) {
    const char* report = duckdb_result_error(result.get());
    return translate(report == nullptr ? "" : report, {});
  }
  std::vector<std::string> values;
  while (true) {
    Chunk chunk;
    *chunk.out() = duckdb_fetch_chunk(*result.get());
    if (chunk.get() == nullptr) return values;
    const auto column = duckdb_data_chunk_get_vector(chunk.get(), 0);
    auto* validity = duckdb_vector_get_validity(column);
    const bool is_text = duckdb_column_type(result.get(), 0) == DUCKDB_TYPE_VARCHAR;
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk.get()); ++row) {
      values.emplace_back();
      if (!is_text || (validity != nullptr && !duckdb_validity_row_is_valid(validity, row)))
        continue;
      auto& text = static_cast<duckdb_string_t*>(duckdb_vector_get_data(column))[row];
      values.back().assign(duckdb_string_t_data(&text), duckdb_string_t_length(text));
    }
  }
}

Result<std::int64_t> single_integer(duckdb_result* result) {
  Chunk chunk;
  *chunk.out() = duckdb_fetch_chunk(*result);
  if (chunk.get() == nullptr || duckdb_data_chunk_get_size(chunk.get()) == 0) {
    return internal("the SQL engine did not tell the number of rows");
  }
  return static_cast<std::int64_t*>(
      duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk.get(), 0)))[0];
}

}  // namespace slipway::data::duck
