#include "base/hash.h"
#include "steps/ingest_internal.h"

namespace slipway::steps {
namespace {

Result<std::int64_t> count_of(const Context& ctx, data::Engine& engine, const std::string& sql) {
  auto table = engine.query(ctx, "SELECT count(*) AS n FROM (" + sql + ")");
  if (!table) return table.error();
  auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  const data::Batch batch = columns->batch();
  return batch.columns[0].integer(0);
}

std::string same_key(const std::vector<std::string>& key) {
  std::string condition;
  for (const auto& column : key) {
    condition += fmt::format("{0}a.{1} IS NOT DISTINCT FROM b.{1}",
                             condition.empty() ? "" : " AND ", data::quote_name(column));
  }
  return condition;
}

}  // namespace

std::optional<Incremental> Incremental::read(SpecReader& reader) {
  if (!reader.has("incremental")) return std::nullopt;
  SpecReader object = reader.object("incremental");
  Incremental rule;
  rule.source = object.text("source");
  rule.by = object.one_of("by", {"files", "watermark", "offsets"}, "files");
  rule.column = object.text("column", "");
  rule.lateness = object.duration("lateness", Duration{0});
  rule.key = object.texts("key");
  rule.keep = object.one_of("keep", {"first", "last", "error"}, "last");
  rule.late = object.one_of("late", {"keep", "drop", "error"}, "keep");
  if (rule.by == "watermark" && rule.column.empty())
    object.problem("column", "a watermark is a column that rises with time: column: updated_at");
  if (rule.lateness.count() > 0 && rule.key.empty())
    object.problem("key", "rows looked at again need a key, or they would be there twice");
  if (rule.late != "keep" && rule.column.empty())
    object.problem("column", "late rows are told by a column: the event time");
  object.close();
  return rule;
}

Json Incremental::to_json() const {
  return {{"source", source}, {"by", by},     {"column", column}, {"lateness_us", lateness.count()},
          {"key", key},       {"keep", keep}, {"late", late}};
}

Result<LoadState> load_state(const Services& services, const IngestSpec& spec,
                             const std::string& recipe_digest) {
  constexpr std::size_t kLookedAt = 100;  // versions; others may write to the same name
  LoadState state;
  auto versions = services.datasets.versions(spec.dataset);
  if (!versions) return versions.error();
  if (versions->size() > kLookedAt) versions->resize(kLookedAt);
  Json provenance;
  for (const auto& version : *versions) {
    auto manifest = services.datasets.manifest(version.ref);
    if (!manifest) return manifest.error();
    if (!manifest->provenance.is_object() ||
        manifest->provenance.value("recipe_sha256", "") != recipe_digest)
      continue;
    provenance = std::move(manifest->provenance);
    state.base = version.ref;
    break;
  }
  if (!state.base) return state;
  const Json kept = provenance.value("incremental", Json::object());
  state.files =
      provenance.value("files", Json::object()).value(spec.incremental->source, Json::array());
  state.watermark = kept.value("watermark", "");
  const Json offsets = kept.value("offsets", Json::object());
  for (const auto& [partition, offset] : offsets.items())
    state.offsets[partition] = offset.get<std::int64_t>();
  return state;
}

std::vector<data::FileFacts> new_files(const LoadState& state,
                                       const std::vector<data::FileFacts>& facts) {
  std::set<std::string> known;
  for (const Json& file : state.files) {
    if (const auto digest = file.value("sha256", ""); !digest.empty()) known.insert(digest);
    if (const auto etag = file.value("etag", ""); !etag.empty())
      known.insert(file.value("path", "") + " " + etag);
  }
  std::vector<data::FileFacts> fresh;
  for (const auto& fact : facts) {
    const bool loaded = fact.sha256.empty() ? known.contains(fact.path + " " + fact.etag)
                                            : known.contains(fact.sha256);
    if (!loaded) fresh.push_back(fact);
  }
  return fresh;
}

Result<Merge> merge_rows(const Context& ctx, data::Engine& engine, const Services& services,
                         const Incremental& incremental, const LoadState& state,
                         const std::string& fresh) {
  Merge merge;
  std::string rows = fresh;
  auto before = count_of(ctx, engine, "SELECT * FROM " + data::quote_name(fresh));
  if (!before) return before.error();
  if (incremental.late != "keep" && !state.watermark.empty()) {
    const auto late = fmt::format("{} < {}", data::quote_name(incremental.column), state.watermark);
    auto count = count_of(ctx, engine,
                          fmt::format("SELECT * FROM {} WHERE {}", data::quote_name(rows), late));
    if (!count) return count.error();
    if (*count > 0 && incremental.late == "error") {
      return failed_precondition(
          fmt::format("{} rows come late: their {} is before {}, which is loaded already; declare "
                      "late: keep or "
                      "late: drop to go on",
                      *count, incremental.column, state.watermark));
    }
    if (auto made = engine.define(
            "slipway on time",
            fmt::format("SELECT * FROM {} WHERE ({}) IS NOT TRUE", data::quote_name(rows), late));
        !made)
      return made.error();
    rows = "slipway on time";
  }
  if (!incremental.key.empty()) {
    const data::Deduplication unique{
        .keys = incremental.key, .keep = incremental.keep, .order = incremental.column};
    if (auto once = unique.check(ctx, engine, rows); !once)
      return once.error().at("new rows of '" + incremental.source + "'");
    if (auto made = engine.define("slipway unique", unique.sql(rows)); !made) return made.error();
    rows = "slipway unique";
  }
  merge.append = state.base.has_value();
  if (state.base && !incremental.key.empty()) {
    if (auto added = add_dataset(engine, services, "slipway base", *state.base); !added)
      return added.error();
    const auto matching = [&](const std::string& keep, const std::string& in, const char* kind) {
      return fmt::format("SELECT a.* FROM {} a {} JOIN {} b ON {}", data::quote_name(keep), kind,
                         data::quote_name(in), same_key(incremental.key));
    };
    auto again = count_of(ctx, engine, matching(rows, "slipway base", "SEMI"));
    if (!again) return again.error();
    if (*again > 0 && incremental.keep == "error") {
      return failed_precondition(
          fmt::format("{} new rows have a key ({}) that is loaded already; declare keep: first or "
                      "keep: last to go on",
                      *again, fmt::join(incremental.key, ", ")));
    }
    if (*again > 0 && incremental.keep == "first") {
      if (auto made = engine.define("slipway unseen", matching(rows, "slipway base", "ANTI"));
          !made)
        return made.error();
      rows = "slipway unseen";
    } else if (*again > 0) {
      merge.append = false;
      merge.sql = fmt::format("{} UNION ALL SELECT * FROM {}",
                              matching("slipway base", rows, "ANTI"), data::quote_name(rows));
    }
  }
  auto after = count_of(ctx, engine, "SELECT * FROM " + data::quote_name(rows));
  if (!after) return after.error();
  merge.dropped = *before - *after;
  if (merge.sql.empty()) merge.sql = "SELECT * FROM " + data::quote_name(rows);
  return merge;
}

}  // namespace slipway::steps
