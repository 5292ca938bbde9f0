// Searching models and versions with MLflow's filter language.
#include "registry/registry_internal.h"
#include "tracking/filter.h"

namespace slipway::registry {
namespace {

using tracking::Comparison;
using tracking::Name;
using tracking::SqlText;

constexpr std::int64_t kMostModels = 1'000;
constexpr std::int64_t kMostVersions = 200'000;

struct Column {
  std::string_view name;
  std::string_view column;
  bool numeric;
};
// What can be searched, and which table holds the tags.
struct Subject {
  std::span<const Column> columns;
  std::string_view tag_condition;  // up to its key: " AND m.id IN (SELECT … WHERE key = ?"
  std::string_view what;
};

constexpr Column kModelColumns[] = {{"name", "m.name", false},
                                    {"timestamp", "m.updated", true},
                                    {"last_updated_timestamp", "m.updated", true},
                                    {"creation_timestamp", "m.created", true}};
constexpr Column kVersionColumns[] = {{"name", "m.name", false},
                                      {"run_id", "v.run_id", false},
                                      {"source_path", "v.source", false},
                                      {"version_number", "v.number", true},
                                      {"timestamp", "v.updated", true},
                                      {"last_updated_timestamp", "v.updated", true},
                                      {"creation_timestamp", "v.created", true}};
constexpr Subject kModels = {
    kModelColumns, " AND m.id IN (SELECT model_id FROM registered_model_tags WHERE key = ?",
    "models"};
constexpr Subject kVersions = {
    kVersionColumns, " AND v.id IN (SELECT version_id FROM model_version_tags WHERE key = ?",
    "model versions"};

bool is_tag(const Name& name) { return name.scope == "tag" || name.scope == "tags"; }

Result<Column> find_column(const Subject& subject, const Name& name) {
  if (name.scope.empty() || name.scope == "attribute" || name.scope == "attributes") {
    for (const auto& column : subject.columns) {
      if (column.name == name.key) return column;
    }
  }
  std::string known;
  for (const auto& column : subject.columns) known += fmt::format("{}, ", column.name);
  return invalid_argument(fmt::format("Invalid attribute key '{}': {} have {}tags.<key>",
                                      name.text(), subject.what, known));
}

Result<void> add_condition(SqlText& query, const Subject& subject, const Comparison& comparison) {
  if (is_tag(comparison.name)) {
    // How clients ask for models: everything but prompts, most of which lacks the tag.
    const bool not_prompts = comparison.name.key == kPromptTag && comparison.op == tracking::Op::ne;
    if (not_prompts) {
      Comparison prompts = comparison;
      prompts.op = tracking::Op::eq;
      query.add(" AND NOT (1 = 1");
      if (auto added = add_condition(query, subject, prompts); !added) return added;
      query.add(")");
      return {};
    }
    query.add(subject.tag_condition).bind(std::string_view(comparison.name.key)).add(" AND ");
    if (auto added = query.compare_text("value", comparison); !added) return added;
    query.add(")");
    return {};
  }
  const auto column = find_column(subject, comparison.name);
  if (!column) return column.error();
  query.add(" AND ");
  return column->numeric ? query.compare_number(column->column, comparison)
                         : query.compare_text(column->column, comparison);
}

struct Prepared {
  SqlText query;
  std::string identity;
  std::int64_t offset = 0;
};

Result<Prepared> prepare(const Subject& subject, std::string_view select, const Search& search,
                         std::int64_t most, std::string_view default_order) {
  if (auto checked = tracking::check_page_size(search.max_results, most); !checked) {
    return checked.error();
  }
  Prepared prepared;
  prepared.identity = fmt::format("{}|{}", subject.what, search.filter);
  prepared.query.add(select);
  const auto filter = tracking::parse_filter(search.filter);
  if (!filter) return filter.error();
  bool names_prompts = false;
  for (const auto& comparison : *filter) {
    names_prompts |= is_tag(comparison.name) && comparison.name.key == kPromptTag;
    if (auto added = add_condition(prepared.query, subject, comparison); !added) {
      return added.error();
    }
  }
  if (search.only) {
    prepared.query.add(" AND m.name IN (SELECT value FROM json_each(?))")
        .bind(std::string_view(Json(*search.only).dump()));
  }
  if (!names_prompts) {
    prepared.query
        .add(
            " AND m.id NOT IN (SELECT model_id FROM registered_model_tags WHERE key = ? AND "
            "lower(value) = 'true')")
        .bind(kPromptTag);
  }
  prepared.query.add(" ORDER BY ");
  for (const auto& text : search.order_by) {
    prepared.identity += "|" + text;
    const auto order = tracking::parse_order(text);
    if (!order) return order.error();
    const auto column = find_column(subject, order->name);
    if (!column) return column.error();
    prepared.query.add(column->column).add(order->descending ? " DESC, " : ", ");
  }
  const auto offset = tracking::read_page_token(search.page, prepared.identity);
  if (!offset) return offset.error();
  prepared.offset = *offset;
  prepared.query.add(default_order)
      .add(" LIMIT ? OFFSET ?")
      .bind(search.max_results + 1)
      .bind(*offset);
  return prepared;
}

// Cuts the row that was read only to know whether a page follows.
template <class T>
std::string cut_page(std::vector<T>& rows, const Search& search, const Prepared& prepared) {
  if (std::ssize(rows) <= search.max_results) return {};
  rows.pop_back();
  return tracking::make_page_token(prepared.offset + search.max_results, prepared.identity);
}

}  // namespace

Result<Page<RegisteredModel>> Registry::search_models(const Search& search) const {
  const auto prepared = prepare(kModels, "SELECT m.name FROM registered_models m WHERE 1 = 1",
                                search, kMostModels, "m.name");
  if (!prepared) return prepared.error();
  return impl_->db.read([&](db::Connection& c) -> Result<Page<RegisteredModel>> {
    std::vector<std::string> names;
    {
      auto rows = prepared->query.run(c);
      if (!rows) return rows.error();
      while (rows->next()) names.push_back(rows->text(0));
      if (auto status = rows->status(); !status) return status.error();
    }
    Page<RegisteredModel> page;
    page.next_page = cut_page(names, search, *prepared);
    for (const auto& name : names) {
      auto row = load_model(c, name);
      if (!row) return row.error();
      page.items.push_back(std::move(row->model));
    }
    return page;
  });
}

Result<Page<ModelVersion>> Registry::search_versions(const Search& search) const {
  const auto prepared =
      prepare(kVersions,
              "SELECT v.id, m.id, m.name, v.number, v.source, v.run_id, v.logged_model_id, "
              "v.digest, v.description, v.status, v.stage, v.user, v.metadata, v.created, "
              "v.updated, v.storage, v.run_link FROM model_versions v JOIN registered_models m ON "
              "m.id = v.model_id "
              "WHERE 1 = 1",
              search, kMostVersions, "m.name, v.number DESC");
  if (!prepared) return prepared.error();
  return impl_->db.read([&](db::Connection& c) -> Result<Page<ModelVersion>> {
    std::vector<VersionRow> found;
    {
      auto rows = prepared->query.run(c);
      if (!rows) return rows.error();
      while (rows->next()) found.push_back(read_version(*rows));
      if (auto status = rows->status(); !status) return status.error();
    }
    Page<ModelVersion> page;
    page.next_page = cut_page(found, search, *prepared);
    for (auto& row : found) {
      if (auto completed = complete(c, row); !completed) return completed.error();
      page.items.push_back(std::move(row.version));
    }
    return page;
  });
}

}  // namespace slipway::registry
