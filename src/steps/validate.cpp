// `validate`: expectations on a dataset version. Rows that break a rule with `on_fail: quarantine`
// go to the dataset <dataset>_quarantine with their reasons; the others become a version of `as`
// (or stay the version they are).
//   validate: {dataset: ${steps.ingest.dataset}, as: flights_clean, expectations: [ … ],
//   reference_time: 2014-01-01}
#include "data/validation.h"
#include "steps/common_internal.h"

namespace slipway::steps {
namespace {

struct ValidateSpec {
  std::string dataset;
  std::string as;
  std::string reference_time;
  std::vector<data::Expectation> expectations;
  static ValidateSpec read(SpecReader& reader) {
    ValidateSpec spec;
    spec.dataset = reader.text("dataset");
    spec.as = reader.text("as", "");
    spec.reference_time = reader.text("reference_time", "");
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
  Services services_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_validate(const Services& services) {
  return std::make_unique<ValidateStep>(services);
}

}  // namespace slipway::steps
