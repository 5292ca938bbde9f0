// `ingest` (raw files) and `transform` (dataset versions): SQL over named relations, into a new
// dataset version.
//   ingest:
//     sources: {flights: {path: data/flights.csv, null_values: [NA]}}
//     sql_file: sql/flights.sql            # or sql: "SELECT …"
//     dataset: flights
//   transform:
//     inputs: {base: ${steps.ingest.dataset}, fresh: ${steps.collect.dataset}}
//     sql: SELECT * FROM base UNION ALL BY NAME SELECT * FROM fresh
//     dataset: flights_train
#include "base/file.h"
#include "base/hash.h"
#include "data/source.h"
#include "steps/common_internal.h"

namespace slipway::steps {
namespace {

struct SqlSpec {
  std::string dataset;
  std::string sql;
  std::string sql_file;
  std::map<std::string, data::Source> sources;
  std::map<std::string, std::string> inputs;

  static SqlSpec read(SpecReader& reader, const std::filesystem::path& folder, bool from_files) {
    SqlSpec spec;
    spec.dataset = reader.text("dataset");
    spec.sql = reader.text("sql", "");
    spec.sql_file = reader.text("sql_file", "");
    if (spec.sql.empty() == spec.sql_file.empty())
      reader.problem("", "give either 'sql' or 'sql_file'");
    if (from_files) {
      for (auto& [name, source] : reader.entries("sources")) {
        spec.sources[name] = data::Source::read(source, folder);
        source.close();
      }
      if (spec.sources.empty())
        reader.problem("", "'sources' names no file: write sources: {name: {path: file.csv}}");
    } else {
      const Json inputs = reader.json("inputs");
      if (!inputs.is_object() || inputs.empty()) {
        reader.problem("",
                       "'inputs' names no dataset: write inputs: {name: ${steps.other.dataset}}");
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
    return spec;
  }
};

class SqlStep final : public pipeline::StepKind {
 public:
  SqlStep(const Services& services, bool from_files)
      : services_(services), from_files_(from_files) {}
  std::string_view name() const override { return from_files_ ? "ingest" : "transform"; }

  Result<void> check(SpecReader& config) const override {
    SqlSpec::read(config, ".", from_files_);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"dataset", "rows", "columns"}};
  }
  std::vector<std::string> produces(const Json& config) const override {
    return {"dataset " + config.value("dataset", "")};
  }

  Result<Json> fingerprint(const Context&, const pipeline::StepInputs& in) const override {
    SpecReader reader = in.config.reader();
    const SqlSpec spec = SqlSpec::read(reader, in.config.folder(), from_files_);
    if (auto sound = reader.finish(); !sound) return sound.error();
    Json print = Json::object();
    if (!spec.sql_file.empty()) {
      auto digest = in.files.of(in.config.resolve(spec.sql_file));
      if (!digest) return digest.error().at(in.config.place("sql_file"));
      print["sql_file"] = *digest;
    }
    for (const auto& [name, source] : spec.sources) {
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

  Result<std::optional<std::string>> stale(const Context&, const pipeline::StepInputs&,
                                           const Json& outputs) const override {
    return dataset_gone(outputs);
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    const SqlSpec spec = SqlSpec::read(reader, call.config.folder(), from_files_);
    if (auto sound = reader.finish(); !sound) return sound.error();
    std::string sql = spec.sql;
    if (!spec.sql_file.empty()) {
      auto text = read_file(call.config.resolve(spec.sql_file));
      if (!text) return text.error().at(call.config.place("sql_file"));
      sql = std::move(*text);
    }
    auto engine = open_engine(call.work_dir);
    if (!engine) return engine.error();
    NewDataset dataset{.name = spec.dataset, .sql = sql};
    dataset.provenance = {{"step", name()}, {"sql_sha256", sha256_hex(sql)}};
    for (const auto& [relation, source] : spec.sources) {
      call.progress(0.05, "reading " + relation);
      if (auto added = (*engine)->add_source(relation, source); !added)
        return added.error().at(call.config.place("sources"));
      auto facts = data::file_facts(ctx, source);
      if (!facts) return facts.error();
      for (const data::FileFacts& file : *facts) {
        Json fact = file.to_json();
        fact["path"] = std::filesystem::path(file.path)
                           .filename()
                           .string();  // where it stood says nothing about the bytes
        dataset.provenance["files"][relation].push_back(std::move(fact));
      }
    }
    for (const auto& [relation, text] : spec.inputs) {
      auto ref = services_.datasets.resolve(text);
      if (!ref) return ref.error();
      if (auto added = add_dataset(**engine, services_, relation, *ref); !added)
        return added.error();
      dataset.provenance["datasets"][relation] = ref->text();
    }
    auto committed = commit_sql(ctx, call, services_, **engine, dataset);
    if (!committed) {
      return spec.sql_file.empty() ? committed.error() : committed.error().at(spec.sql_file);
    }
    if (auto noted = note_lineage(ctx, dataset.provenance, spec, committed->ref); !noted)
      return noted.error();
    pipeline::StepResult result;
    result.outputs = {{"dataset", committed->ref.text()},
                      {"rows", committed->rows},
                      {"columns", committed->columns}};
    result.summary = fmt::format("{} rows, {} columns, {}@{}", committed->rows, committed->columns,
                                 spec.dataset, committed->ref.version.substr(0, 12));
    return result;
  }

 private:
  Result<std::optional<std::string>> dataset_gone(const Json& outputs) const {
    if (auto ref = services_.datasets.resolve(outputs.value("dataset", "")); !ref) {
      return std::optional<std::string>("its dataset version is gone");
    }
    return std::optional<std::string>{};
  }

  Result<void> note_lineage(const Context& ctx, const Json& provenance, const SqlSpec& spec,
                            const data::DatasetRef& ref) const {
    const governance::Node into{governance::NodeType::dataset, ref.text()};
    const Json files_by_relation = provenance.value("files", Json::object());
    for (const auto& [relation, files] : files_by_relation.items()) {
      for (const Json& file : files) {
        governance::Node from{governance::NodeType::file, file.value("sha256", "")};
        from.facts = file;
        if (auto noted = services_.lineage.record(ctx, {from, into, std::string(name())}); !noted)
          return noted;
      }
    }
    for (const auto& [relation, text] : spec.inputs) {
      auto from = services_.datasets.resolve(text);
      if (!from) return from.error();
      const governance::Node source{governance::NodeType::dataset, from->text()};
      if (auto noted = services_.lineage.record(ctx, {source, into, std::string(name())}); !noted)
        return noted;
    }
    return {};
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
