// `ingest` (raw sources) and `transform` (dataset versions): SQL over named relations, or declared
// steps, or both, into a new dataset version.
//   ingest:
//     sources: {flights: {path: data/flights.csv, null_values: [NA]}}
//     sql_file: sql/flights.sql            # or sql: "SELECT …"; or from: flights
//     steps: [{filter: dep_time IS NOT NULL}]                    # over the SQL's rows
//     (data/recipe.h) incremental: {source: flights, by: files}                  #
//     ingest_internal.h memory_limit_mb: 1024 dataset: flights
//   transform:
//     inputs: {base: ${steps.ingest.dataset}, fresh: ${steps.collect.dataset}}
//     sql: SELECT * FROM base UNION ALL BY NAME SELECT * FROM fresh
//     dataset: flights_train
#include "base/file.h"
#include "base/hash.h"
#include "data/source.h"
#include "steps/ingest_internal.h"

namespace slipway::steps {

IngestSpec IngestSpec::read(SpecReader& reader, const std::filesystem::path& folder,
                            bool from_files) {
  IngestSpec spec;
  spec.dataset = reader.text("dataset");
  spec.sql = reader.text("sql", "");
  spec.sql_file = reader.text("sql_file", "");
  spec.from = reader.text("from", "");
  spec.steps_json = reader.has("steps") ? reader.value().value("steps", Json()) : Json();
  spec.steps = data::Recipe::read(reader, "steps");
  spec.memory_limit_mb = reader.integer("memory_limit_mb", spec.memory_limit_mb);
  if (spec.memory_limit_mb < 64) reader.problem("memory_limit_mb", "the limit is at least 64");
  if (!spec.sql.empty() && !spec.sql_file.empty())
    reader.problem("", "give either 'sql' or 'sql_file'");
  const bool has_sql = !spec.sql.empty() || !spec.sql_file.empty();
  if (has_sql && !spec.from.empty())
    reader.problem("from", "the SQL says where rows come from; leave 'from' out");
  if (from_files) {
    for (auto& [name, source] : reader.entries("sources")) {
      spec.sources[name] = data::Source::read(source, folder);
      source.close();
    }
    if (spec.sources.empty())
      reader.problem("", "'sources' names no file: write sources: {name: {path: file.csv}}");
    spec.incremental = Incremental::read(reader);
    if (spec.incremental && !spec.sources.contains(spec.incremental->source)) {
      reader.problem("incremental", "there is no source '" + spec.incremental->source + "'");
    }
  } else {
    const Json inputs = reader.json("inputs");
    if (!inputs.is_object() || inputs.empty()) {
      reader.problem("", "'inputs' names no dataset: write inputs: {name: ${steps.other.dataset}}");
      return spec;
    }
    for (const auto& [name, value] : inputs.items()) {
      if (value.is_string()) {
        spec.inputs[name] = value.get<std::string>();
      } else {
        reader.problem(
            "inputs",
            "'" + name + "' has to be a dataset, such as flights or ${steps.ingest.dataset}");
      }
    }
  }
  std::vector<std::string> relations;
  for (const auto& [name, source] : spec.sources) relations.push_back(name);
  for (const auto& [name, input] : spec.inputs) relations.push_back(name);
  if (!has_sql && spec.from.empty() && relations.size() == 1) spec.from = relations.front();
  if (!has_sql && spec.from.empty()) {
    reader.problem("", "say where rows come from: 'sql', 'sql_file', or 'from' with one relation");
  } else if (!spec.from.empty() &&
             std::find(relations.begin(), relations.end(), spec.from) == relations.end()) {
    const auto near = nearest(spec.from, relations);
    reader.problem("from", fmt::format("there is no relation '{}'{}", spec.from,
                                       near ? "; did you mean '" + *near + "'?" : ""));
  }
  return spec;
}

namespace {

// Whether nothing but reading tells what a source holds now.
bool is_unforeseeable(const data::Source& source) {
  using Kind = data::Source::Kind;
  return source.kind == Kind::postgres || source.kind == Kind::mysql ||
         source.kind == Kind::kafka || source.kind == Kind::delta || source.kind == Kind::iceberg ||
         std::find(source.paths.begin(), source.paths.end(), "-") != source.paths.end();
}

// A column's largest value as SQL writes it; empty when there is none.
Result<std::string> newest_value(const Context& ctx, data::Engine& engine,
                                 const std::string& relation, const std::string& column) {
  const auto name = data::quote_name(column);
  auto schema = engine.describe("SELECT " + name + " FROM " + data::quote_name(relation));
  if (!schema) return schema.error();
  auto table = engine.query(ctx, fmt::format("SELECT CAST(max({}) AS VARCHAR) AS v FROM {}", name,
                                             data::quote_name(relation)));
  if (!table) return table.error();
  auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  const data::Batch batch = columns->batch();
  if (batch.rows == 0 || batch.columns[0].is_null(0)) return std::string();
  const auto text = data::quote_text(batch.columns[0].text(0));
  switch (schema->fields[0].type) {
    case data::Type::timestamp:
      return "TIMESTAMP " + text;
    case data::Type::int64:
      return "CAST(" + text + " AS BIGINT)";
    case data::Type::float64:
      return "CAST(" + text + " AS DOUBLE)";
    default:
      return text;
  }
}

// One run of a step: the sources on their way to a dataset version.
class Load {
 public:
  Load(const Context& ctx, const pipeline::StepCall& call, const Services& services,
       const IngestSpec& spec, std::string_view kind)
      : ctx_(ctx), call_(call), services_(services), spec_(spec), kind_(kind) {}

  Result<pipeline::StepResult> run() {
    if (auto read = read_sql(); !read) return read.error();
    auto engine = open_engine(call_.work_dir, spec_.memory_limit_mb);
    if (!engine) return engine.error();
    engine_ = std::move(*engine);
    dataset_.name = spec_.dataset;
    dataset_.provenance = {{"step", kind_}, {"sql_sha256", sha256_hex(sql_)}};
    if (!spec_.steps.empty()) dataset_.provenance["steps"] = spec_.steps_json;
    if (spec_.incremental) {
      const auto digest = recipe_digest();
      dataset_.provenance["recipe_sha256"] = digest;
      auto state = load_state(services_, spec_, digest);
      if (!state) return state.error();
      state_ = std::move(*state);
      if (!state_.base) call_.log.line("nothing was loaded this way before: reading all");
    }
    for (const auto& [relation, source] : spec_.sources) {
      auto added = add_source(relation, source);
      if (!added) return added.error();
      if (!*added) return nothing_new();
    }
    for (const auto& [relation, text] : spec_.inputs) {
      auto ref = services_.datasets.resolve(text);
      if (!ref) return ref.error();
      if (auto added = add_dataset(*engine_, services_, relation, *ref); !added)
        return added.error();
      dataset_.provenance["datasets"][relation] = ref->text();
    }
    return write();
  }
  const Json& provenance() const { return dataset_.provenance; }

 private:
  Result<void> read_sql() {
    sql_ = spec_.sql;
    if (!spec_.sql.empty()) origin_ = sql_origin(call_.config, "sql");
    if (spec_.sql_file.empty()) return {};
    auto text = read_file(call_.config.resolve(spec_.sql_file));
    if (!text) return text.error().at(call_.config.place("sql_file"));
    sql_ = std::move(*text);
    origin_ = {.file = spec_.sql_file};
    return {};
  }

  // What shapes the rows, beside the data itself.
  std::string recipe_digest() const {
    Json recipe = {{"sql", sql_},
                   {"from", spec_.from},
                   {"steps", spec_.steps_json},
                   {"incremental", spec_.incremental->to_json()}};
    for (const auto& [relation, source] : spec_.sources) {
      Json declared = source.to_json();
      declared.erase("paths");
      recipe["sources"][relation] = std::move(declared);
    }
    return sha256_hex(canonical(recipe));
  }

  bool is_incremental(const std::string& relation) const {
    return spec_.incremental && spec_.incremental->source == relation;
  }

  // The files of a source, with digests that are remembered from earlier runs.
  Result<std::vector<data::FileFacts>> facts_of(const data::Source& source) {
    if (!data::is_local_files(source)) return engine_->facts(ctx_, source);
    auto files = data::expand(source);
    if (!files) return files.error();
    auto watch = data::FileWatch::begin(*files);
    if (!watch) return watch.error();
    std::vector<data::FileFacts> facts;
    for (std::size_t i = 0; i < files->size(); ++i) {
      if (auto wanted = ctx_.check(); !wanted) return wanted.error();
      auto digest = call_.files.of((*files)[i]);
      if (!digest) return digest.error();
      facts.push_back({(*files)[i].string(), *digest, watch->size(i), watch->modified(i), ""});
    }
    watches_.push_back(std::move(*watch));
    return facts;
  }

  // False: an incremental source has nothing new.
  Result<bool> add_source(const std::string& relation, data::Source source) {
    call_.progress(0.05, "reading " + relation);
    auto facts = facts_of(source);
    if (!facts) return facts.error().at(call_.config.place("sources"));
    const bool incremental = is_incremental(relation);
    const auto by = incremental ? spec_.incremental->by : "";
    Json known = Json::array();
    if (by == "files") {
      if (facts->empty())
        return invalid_argument("source '" + relation + "' is no files; load it by: watermark")
            .at(call_.config.place("incremental"));
      auto fresh = new_files(state_, *facts);
      if (fresh.empty()) return false;
      call_.log.line(
          fmt::format("{}: {} of {} files are new", relation, fresh.size(), facts->size()));
      if (state_.base) known = state_.files;
      facts = std::move(fresh);
      source.paths.clear();
      for (const auto& fact : *facts) source.paths.push_back(fact.path);
    }
    if (by == "offsets") source.offsets = state_.offsets;
    const auto name = by == "watermark" ? relation + " all" : relation;
    auto added = engine_->add_source(ctx_, name, source);
    if (!added) {
      if (by == "offsets" && state_.base && added.error().code == Code::failed_precondition &&
          added.error().message.find("no new message") != std::string::npos)
        return false;
      return added.error().at(call_.config.place("sources"));
    }
    for (const auto& [partition, offset] : added->offsets)
      dataset_.provenance["incremental"]["offsets"][partition] = offset;
    for (const data::FileFacts& fact : *facts) known.push_back(fact_json(fact));
    if (!known.empty())
      dataset_.provenance["files"][relation] = std::move(known);
    else if (!data::is_local_files(source))
      dataset_.provenance["sources"][relation] = source.to_json();
    facts_[relation] = std::move(*facts);
    return by == "watermark" ? above_watermark(relation, name) : Result<bool>(true);
  }

  Result<bool> above_watermark(const std::string& relation, const std::string& all) {
    const auto& rule = *spec_.incremental;
    auto sql = "SELECT * FROM " + data::quote_name(all);
    if (!state_.watermark.empty()) {
      sql += fmt::format(" WHERE {} > {}", data::quote_name(rule.column), state_.watermark);
      if (rule.lateness.count() > 0)
        sql += fmt::format(" - to_microseconds({})", rule.lateness.count());
    }
    if (auto made = engine_->define(relation, sql); !made)
      return made.error().at(call_.config.place("incremental"));
    auto newest = newest_value(ctx_, *engine_, relation, rule.column);
    if (!newest) return newest.error().at(call_.config.place("incremental"));
    if (newest->empty()) return !state_.base.has_value();
    return true;
  }

  static Json fact_json(const data::FileFacts& fact) {
    Json json = fact.to_json();
    // Where a file stood says nothing about the bytes; an object's address is all it has.
    if (!fact.sha256.empty()) json["path"] = std::filesystem::path(fact.path).filename().string();
    return json;
  }

  Result<pipeline::StepResult> write() {
    std::string rows = spec_.from;
    if (!sql_.empty() && !spec_.steps.empty()) {
      rows = "slipway rows";
      if (auto made = engine_->define(rows, sql_, origin_); !made) return made.error();
    }
    auto last = spec_.steps.apply(ctx_, *engine_, rows);
    if (!last) return last.error();
    const bool plain_sql = !sql_.empty() && spec_.steps.empty();
    const auto sql = plain_sql ? sql_ : "SELECT * FROM " + data::quote_name(*last);
    const auto file = call_.work_dir / "rows.parquet";
    call_.progress(0.2, "running the SQL");
    auto written = engine_->write_parquet(ctx_, sql, file, plain_sql ? origin_ : data::SqlOrigin{});
    if (!written) return written.error();
    for (const auto& watch : watches_) {
      if (auto same = watch.unchanged(); !same) return same.error();
    }
    if (auto same = same_objects(); !same) return same.error();
    dataset_.files = {file};
    if (spec_.incremental) {
      auto merged = merge(file);
      if (!merged) return merged.error();
      written = *merged;
    }
    if (spec_.incremental && state_.base && dataset_.base && *written == 0) return nothing_new();
    auto committed = commit_rows(ctx_, call_, services_, dataset_);
    if (!committed) return committed.error();
    auto summary = fmt::format("{} rows, {} columns, {}@{}", committed->rows, committed->columns,
                               spec_.dataset, committed->ref.version.substr(0, 12));
    if (spec_.incremental) summary += fmt::format(", {} rows new", *written);
    return result_of(*committed, summary);
  }

  // Objects elsewhere may have been replaced meanwhile.
  Result<void> same_objects() {
    for (const auto& [relation, source] : spec_.sources) {
      if (data::is_local_files(source) || facts_[relation].empty()) continue;
      data::Source read = source;
      read.paths.clear();
      for (const auto& fact : facts_[relation]) read.paths.push_back(fact.path);
      auto now = engine_->facts(ctx_, read);
      if (!now) return now.error();
      for (std::size_t i = 0; i < now->size() && i < facts_[relation].size(); ++i) {
        const auto& before = facts_[relation][i];
        if ((*now)[i].etag == before.etag && (*now)[i].size == before.size) continue;
        return failed_precondition("'" + before.path +
                                   "' was replaced while it was read; run again");
      }
    }
    return {};
  }

  // Sets what is committed; how many rows are new.
  Result<std::int64_t> merge(const std::filesystem::path& file) {
    data::Source written{.kind = data::Source::Kind::parquet, .paths = {file.string()}};
    if (auto added = engine_->add_source("slipway fresh", written); !added) return added.error();
    auto merge = merge_rows(ctx_, *engine_, services_, *spec_.incremental, state_, "slipway fresh");
    if (!merge) return merge.error().at(call_.config.place("incremental"));
    if (merge->dropped > 0)
      call_.log.line(fmt::format("{} rows were left out: late, or loaded before", merge->dropped));
    Json& kept = dataset_.provenance["incremental"];
    if (!kept.is_object()) kept = Json::object();
    kept["rule"] = spec_.incremental->to_json();
    if (state_.base) kept["base"] = state_.base->text();
    if (!spec_.incremental->column.empty()) {
      auto newest =
          newest_value(ctx_, *engine_, spec_.incremental->source, spec_.incremental->column);
      if (!newest) return newest.error().at(call_.config.place("incremental"));
      kept["watermark"] = newest->empty() ? state_.watermark : *newest;
    }
    if (merge->append) dataset_.base = state_.base;
    const auto final_file = call_.work_dir / "merged.parquet";
    auto rows = engine_->write_parquet(ctx_, merge->sql, final_file);
    if (!rows) return rows.error();
    dataset_.files = {final_file};
    return rows;
  }

  Result<pipeline::StepResult> nothing_new() {
    auto manifest = services_.datasets.manifest(*state_.base);
    if (!manifest) return manifest.error();
    const Committed same{*state_.base, manifest->rows,
                         static_cast<std::int64_t>(manifest->schema.fields.size())};
    return result_of(same, fmt::format("nothing new; {} rows, {}@{}", same.rows, spec_.dataset,
                                       same.ref.version.substr(0, 12)));
  }

  Result<pipeline::StepResult> result_of(const Committed& committed, const std::string& summary) {
    if (auto noted = note_lineage(committed.ref); !noted) return noted.error();
    pipeline::StepResult result;
    result.outputs = {{"dataset", committed.ref.text()},
                      {"rows", committed.rows},
                      {"columns", committed.columns}};
    result.summary = summary;
    return result;
  }

  Result<void> note_lineage(const data::DatasetRef& ref) const {
    const governance::Node into{governance::NodeType::dataset, ref.text()};
    const auto record = [&](const governance::Node& from) {
      return services_.lineage.record(ctx_, {from, into, std::string(kind_)});
    };
    for (const auto& [relation, facts] : facts_) {
      for (const auto& fact : facts) {
        governance::Node from{governance::NodeType::file,
                              fact.sha256.empty() ? fact.path + "#" + fact.etag : fact.sha256};
        from.facts = fact_json(fact);
        from.facts["modified"] = format_time(fact.modified);
        if (auto noted = record(from); !noted) return noted;
      }
    }
    std::vector<std::string> datasets;
    for (const auto& [relation, text] : spec_.inputs) datasets.push_back(text);
    if (state_.base && state_.base->text() != ref.text()) datasets.push_back(state_.base->text());
    for (const auto& text : datasets) {
      auto from = services_.datasets.resolve(text);
      if (!from) return from.error();
      if (auto noted = record({governance::NodeType::dataset, from->text()}); !noted) return noted;
    }
    return {};
  }

  const Context& ctx_;
  const pipeline::StepCall& call_;
  const Services& services_;
  const IngestSpec& spec_;
  std::string_view kind_;
  std::string sql_;
  data::SqlOrigin origin_;
  std::unique_ptr<data::Engine> engine_;
  NewDataset dataset_;
  LoadState state_;
  std::vector<data::FileWatch> watches_;
  std::map<std::string, std::vector<data::FileFacts>> facts_;
};

class SqlStep final : public pipeline::StepKind {
 public:
  SqlStep(const Services& services, bool from_files)
      : services_(services), from_files_(from_files) {}
  std::string_view name() const override { return from_files_ ? "ingest" : "transform"; }
  int version() const override { return 2; }

  Result<void> check(SpecReader& config) const override {
    IngestSpec::read(config, ".", from_files_);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"dataset", "rows", "columns"}};
  }
  std::vector<std::string> produces(const Json& config) const override {
    return {"dataset " + config.value("dataset", "")};
  }

  Result<Json> fingerprint(const Context& ctx, const pipeline::StepInputs& in) const override {
    SpecReader reader = in.config.reader();
    const IngestSpec spec = IngestSpec::read(reader, in.config.folder(), from_files_);
    if (auto sound = reader.finish(); !sound) return sound.error();
    Json print = Json::object();
    if (!spec.sql_file.empty()) {
      auto digest = in.files.of(in.config.resolve(spec.sql_file));
      if (!digest) return digest.error().at(in.config.place("sql_file"));
      print["sql_file"] = *digest;
    }
    for (const auto& [name, source] : spec.sources) {
      if (is_unforeseeable(source)) continue;  // stale() says so
      if (!data::is_local_files(source)) {
        auto objects = facts_of_objects(ctx, source);
        if (!objects) return objects.error().at(in.config.place("sources"));
        print["sources"][name] = *objects;
        continue;
      }
      auto files = data::expand(source);
      if (!files) return files.error().at(in.config.place("sources"));
      for (const auto& file : *files) {
        auto digest = in.files.of(file);
        if (!digest) return digest.error();
        print["sources"][name][file.filename().string()] = *digest;
      }
    }
    for (const auto& [name, dataset] : spec.inputs) {
      auto ref = services_.datasets.resolve(dataset);
      if (!ref) return ref.error().at(in.config.place("inputs"));
      print["inputs"][name] = ref->version;
    }
    return print;
  }

  Result<std::optional<std::string>> stale(const Context&, const pipeline::StepInputs& in,
                                           const Json& outputs) const override {
    SpecReader reader = in.config.reader();
    const IngestSpec spec = IngestSpec::read(reader, in.config.folder(), from_files_);
    for (const auto& [name, source] : spec.sources) {
      if (is_unforeseeable(source))
        return std::optional<std::string>("what '" + name +
                                          "' holds now is only known by reading it");
    }
    if (auto ref = services_.datasets.resolve(outputs.value("dataset", "")); !ref) {
      return std::optional<std::string>("its dataset version is gone");
    }
    return std::optional<std::string>{};
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    const IngestSpec spec = IngestSpec::read(reader, call.config.folder(), from_files_);
    if (auto sound = reader.finish(); !sound) return sound.error();
    return Load(ctx, call, services_, spec, name()).run();
  }

 private:
  static Result<Json> facts_of_objects(const Context& ctx, const data::Source& source) {
    auto engine = data::Engine::open({.memory_limit_mb = 128});
    if (!engine) return engine.error();
    auto facts = (*engine)->facts(ctx, source);
    if (!facts) return facts.error();
    Json objects = Json::object();
    for (const auto& fact : *facts)
      objects[fact.path] = {
          {"etag", fact.etag}, {"size", fact.size}, {"modified", format_time(fact.modified)}};
    return objects;
  }

  Services services_;
  bool from_files_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_ingest(const Services& services) {
  return std::make_unique<SqlStep>(services, true);
}
std::unique_ptr<pipeline::StepKind> make_transform(const Services& services) {
  return std::make_unique<SqlStep>(services, false);
}

}  // namespace slipway::steps
