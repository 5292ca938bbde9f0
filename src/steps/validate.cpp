// `validate`: expectations on a dataset version. Rows that break a rule with `on_fail: quarantine`
// go to the dataset <dataset>_quarantine with their reasons; the others become a version of `as`
// (or stay the version they are).
//   validate: {dataset: ${steps.ingest.dataset}, as: flights_clean, expectations: [ … ],
//   reference_time: 2014-01-01, relations: {before: flights@3fa9}}
// `relations` names other datasets that rules compare with. Rules that `learn` look at the earlier
// versions of the dataset and of `as`.
#include "data/validation.h"
#include "steps/common_internal.h"

namespace slipway::steps {
namespace {

struct ValidateSpec {
  std::string dataset;
  std::string as;
  std::string reference_time;
  std::map<std::string, std::string> relations;
  std::vector<data::Expectation> expectations;
  bool learns() const {
    return std::any_of(expectations.begin(), expectations.end(),
                       [](const auto& rule) { return rule.learn.has_value(); });
  }
  static ValidateSpec read(SpecReader& reader) {
    ValidateSpec spec;
    spec.dataset = reader.text("dataset");
    spec.as = reader.text("as", "");
    spec.reference_time = reader.text("reference_time", "");
    const Json relations = reader.json("relations");
    const Json named = relations.is_object() ? relations : Json::object();
    if (!relations.is_null() && !relations.is_object())
      reader.problem("relations", "'relations' maps names to datasets: {before: flights@3fa9}");
    for (const auto& [name, value] : named.items()) {
      if (!value.is_string()) {
        reader.problem("relations", "'" + name + "' has to be a dataset, such as flights@3fa9");
      } else if (name == "dataset") {
        reader.problem("relations", "'dataset' is the name of the checked rows");
      } else {
        spec.relations[name] = value.get<std::string>();
      }
    }
    spec.expectations = data::read_expectations(reader, "expectations");
    if (spec.expectations.empty())
      reader.problem("", "'expectations' is empty: nothing would be checked");
    return spec;
  }
};

class ValidateStep final : public pipeline::StepKind {
 public:
  explicit ValidateStep(const Services& services) : services_(services) {}
  std::string_view name() const override { return "validate"; }
  Result<void> check(SpecReader& config) const override {
    ValidateSpec::read(config);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"dataset", "rows", "quarantine", "quarantined", "report"}};
  }
  std::vector<std::string> produces(const Json& config) const override {
    const std::string as = config.value("as", "");
    if (as.empty()) return {};
    return {"dataset " + as, "dataset " + as + "_quarantine"};
  }

  // What else decides the verdict: other datasets, and what was learned from earlier versions.
  Result<Json> fingerprint(const Context&, const pipeline::StepInputs& in) const override {
    SpecReader reader = in.config.reader();
    const ValidateSpec spec = ValidateSpec::read(reader);
    if (auto sound = reader.finish(); !sound) return sound.error();
    Json print = Json::object();
    for (const auto& [name, dataset] : spec.relations) {
      auto ref = services_.datasets.resolve(dataset);
      if (!ref) return ref.error().at(in.config.place("relations"));
      print["relations"][name] = ref->version;
    }
    if (!spec.learns()) return print;
    auto ref = services_.datasets.resolve(spec.dataset);
    if (!ref) return ref.error().at(in.config.place("dataset"));
    auto history = earlier_figures(spec, *ref);
    if (!history) return history.error();
    print["history"] = *history;
    return print;
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    const ValidateSpec spec = ValidateSpec::read(reader);
    if (auto sound = reader.finish(); !sound) return sound.error();
    auto ref = services_.datasets.resolve(spec.dataset);
    if (!ref) return ref.error();
    auto engine = open_engine(call.work_dir);
    if (!engine) return engine.error();
    if (auto added = add_dataset(**engine, services_, "dataset", *ref); !added)
      return added.error();
    data::ValidationOptions options;
    if (!spec.reference_time.empty()) {
      auto time = parse_time(spec.reference_time);
      if (!time) return time.error().at(call.config.place("reference_time"));
      options.reference_time = *time;
    }
    for (const auto& [name, dataset] : spec.relations) {
      auto other = services_.datasets.resolve(dataset);
      if (!other) return other.error().at(call.config.place("relations"));
      if (auto added = add_dataset(**engine, services_, name, *other); !added) return added.error();
    }
    if (spec.learns()) {
      auto history = earlier_figures(spec, *ref);
      if (!history) return history.error();
      options.history = std::move(*history);
    }
    call.progress(0.1, "checking");
    auto validation = data::validate(ctx, **engine, "dataset", spec.expectations, options);
    if (!validation) return validation.error();
    const data::Report& report = validation->report;
    call.log.line(data::render_text(report));

    pipeline::StepResult result;
    result.passed = report.ok();
    auto stored = services_.blobs.put_bytes(canonical(report.to_json()));
    if (!stored) return stored.error();
    result.artifacts.push_back({"report.json", stored->sha256, stored->size});
    auto page =
        services_.blobs.put_bytes(data::render_html(report, "Validation of " + ref->text()));
    if (!page) return page.error();
    result.artifacts.push_back({"report.html", page->sha256, page->size});
    result.outputs = {{"dataset", ref->text()},
                      {"rows", report.rows},
                      {"quarantine", nullptr},
                      {"quarantined", report.quarantined},
                      {"report", stored->sha256}};
    const std::string as = spec.as.empty() ? ref->name : spec.as;
    Json provenance = {{"step", "validate"}, {"datasets", {{"dataset", ref->text()}}}};
    if (report.quarantined > 0 && !validation->quarantine_sql.empty()) {
      auto bad = commit_sql(ctx, call, services_, **engine,
                            {as + "_quarantine", validation->quarantine_sql, provenance});
      if (!bad) return bad.error();
      result.outputs["quarantine"] = bad->ref.text();
    }
    if (result.passed && (report.quarantined > 0 || as != ref->name)) {
      auto clean = commit_sql(ctx, call, services_, **engine,
                              {as, validation->clean_sql, provenance, report.to_json()});
      if (!clean) return clean.error();
      result.outputs["dataset"] = clean->ref.text();
      result.outputs["rows"] = clean->rows;
      const governance::Node from{governance::NodeType::dataset, ref->text()};
      const governance::Node into{governance::NodeType::dataset, clean->ref.text()};
      if (auto noted = services_.lineage.record(ctx, {from, into, "validate"}); !noted)
        return noted.error();
    }
    const auto failed = std::count_if(report.rules.begin(), report.rules.end(),
                                      [](const auto& rule) { return !rule.ok; });
    result.summary = fmt::format("{} of {} expectations hold, {} rows set aside",
                                 report.rules.size() - static_cast<std::size_t>(failed),
                                 report.rules.size(), report.quarantined);
    for (const data::RuleResult& rule : report.rules) {
      if (!rule.ok && !rule.warn_only && !rule.quarantine) result.summary += "; " + rule.message;
    }
    return result;
  }

 private:
  // By rule name, of the versions before this one: of the dataset that clean rows go to when it has
  // any, else of the dataset itself.
  Result<std::map<std::string, std::vector<double>>> earlier_figures(
      const ValidateSpec& spec, const data::DatasetRef& ref) const {
    std::vector<data::EarlierVersion> earlier;
    for (const auto& name : {spec.as.empty() ? ref.name : spec.as, ref.name}) {
      auto versions = services_.datasets.versions(name);  // newest first
      if (!versions) return versions.error();
      for (const auto& version : *versions) {
        if (version.ref == ref) continue;
        auto manifest = services_.datasets.manifest(version.ref);
        if (!manifest) return manifest.error();
        // what this very version gave, when the step runs again
        const auto made_from = manifest->provenance.is_object()
                                   ? manifest->provenance.value("datasets", Json())
                                   : Json();
        if (made_from.is_object() && made_from.value("dataset", Json()) == Json(ref.text()))
          continue;
        earlier.insert(earlier.begin(), {manifest->validation, manifest->profile});
      }
      if (!earlier.empty()) break;
    }
    return data::history_of(spec.expectations, earlier);
  }

  Services services_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_validate(const Services& services) {
  return std::make_unique<ValidateStep>(services);
}

}  // namespace slipway::steps
