// `register`: a version of a registered model, the gate's decision about it, and the aliases that
// follow from a yes.
//   register:
//     model: late
//     bundle: ${steps.train.bundle}
//     run_id: ${steps.train.run_id}
//     evaluation: ${steps.evaluate.evaluation}
//     gate: auc >= 0.64 and ece <= 0.05 and log_loss <= champion.log_loss
//     alias: champion                       # or [champion, baseline]
//     description: …
#include "evaluation/evaluation.h"
#include "evaluation/gate.h"
#include "steps/common_internal.h"

namespace slipway::steps {
namespace {

// The key of the step that made a version, so that the same work makes one version.
constexpr const char* kStepTag = "slipway.step";

struct RegisterSpec {
  std::string model, bundle, run_id, evaluation, description;
  std::vector<std::string> aliases;
  std::optional<evaluation::Gate> gate;
  static RegisterSpec read(SpecReader& reader) {
    RegisterSpec spec;
    spec.model = reader.text("model");
    spec.bundle = reader.text("bundle");
    spec.run_id = reader.text("run_id", "");
    spec.evaluation = reader.text("evaluation", "");
    spec.description = reader.text("description", "");
    spec.aliases = reader.texts("alias");
    if (reader.has("gate")) {
      spec.gate = evaluation::Gate::read(reader, "gate");
      if (spec.evaluation.empty())
        reader.problem("gate", "a gate needs 'evaluation': ${steps.<evaluate>.evaluation}");
    } else {
      reader.json("gate");
    }
    return spec;
  }
};

class RegisterStep final : public pipeline::StepKind {
 public:
  explicit RegisterStep(const Services& services) : services_(services) {}
  std::string_view name() const override { return "register"; }
  Result<void> check(SpecReader& config) const override {
    RegisterSpec::read(config);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"model", "version", "passed", "reason"}};
  }
  Result<std::optional<std::string>> stale(const Context&, const pipeline::StepInputs&,
                                           const Json& outputs) const override {
    const std::string model = outputs.value("model", "");
    const std::int64_t number = outputs.value("version", std::int64_t{0});
    auto version = services_.registry.version(model, number);
    if (!version && version.error().code == Code::not_found) {
      return std::optional("model version " + model + "/" + std::to_string(number) +
                           " was deleted");
    }
    if (!version) return version.error();
    return std::optional<std::string>{};
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    const RegisterSpec spec = RegisterSpec::read(reader);
    if (auto sound = reader.finish(); !sound) return sound.error();
    auto bundle = open_bundle(services_, spec.bundle, call.work_dir);
    if (!bundle)
      return bundle
          .error();  // its certificate was replayed: what cannot be served is not registered
    evaluation::Decision decision{.passed = true, .reason = "no gate was declared"};
    Json metrics = Json::object();
    if (!spec.evaluation.empty()) {
      auto text = services_.blobs.read(spec.evaluation);
      if (!text) return text.error();
      auto json = parse_json(*text, "the evaluation");
      if (!json) return json.error();
      auto measured = evaluation::Evaluation::from_json(*json);
      if (!measured) return measured.error();
      for (const auto& [key, value] : measured->metrics) metrics[key] = value;
      if (spec.gate)
        decision = spec.gate->decide(measured->values(), !measured->champion_name.empty());
    }

    if (auto model = services_.registry.ensure_model(ctx, spec.model); !model) return model.error();
    registry::VersionSpec version_spec{
        .run_id = spec.run_id, .digest = spec.bundle, .description = spec.description};
    if (!spec.run_id.empty()) {
      auto run = services_.tracking.run({spec.run_id});
      if (!run) return run.error();
      version_spec.source = run->artifact_uri + "/model";
    } else {
      version_spec.source = "slipway:/bundles/" + spec.bundle;
    }
    version_spec.tags["slipway.bundle"] = spec.bundle;
    version_spec.tags[kStepTag] = call.key;
    version_spec.tags["slipway.gate"] = decision.passed ? "passed" : "refused";
    version_spec.metadata = {{"inputs", bundle->inputs().to_json()},
                             {"metrics", metrics},
                             {"provenance", bundle->provenance()},
                             {"evaluation", spec.evaluation},
                             {"pipeline_run", call.run_id}};
    auto version = create_once(ctx, spec.model, version_spec);
    if (!version) return version.error();
    if (auto kept = services_.registry.record_gate(ctx, spec.model, version->number,
                                                   decision.passed, decision.to_json());
        !kept)
      return kept.error();
    if (!spec.run_id.empty()) {
      const governance::Node run{governance::NodeType::run, spec.run_id};
      governance::Node made{governance::NodeType::model_version,
                            spec.model + "/" + std::to_string(version->number)};
      made.facts = {{"bundle", spec.bundle}};
      if (auto noted = services_.lineage.record(ctx, {run, made, "register"}); !noted)
        return noted.error();
    }
    if (decision.passed) {
      for (const std::string& alias : spec.aliases) {
        if (auto moved = services_.registry.set_alias(ctx, spec.model, alias, version->number,
                                                      "gate: " + decision.reason);
            !moved)
          return moved.error();
      }
    }
    call.log.line(decision.render_text());
    pipeline::StepResult result;
    result.passed = decision.passed;
    result.outputs = {{"model", spec.model},
                      {"version", version->number},
                      {"passed", decision.passed},
                      {"reason", decision.reason}};
    std::string aliases;
    for (const std::string& alias : spec.aliases) aliases += (aliases.empty() ? "" : ", ") + alias;
    result.summary = fmt::format(
        "{} version {}: {}", spec.model, version->number,
        decision.passed
            ? (aliases.empty() ? decision.reason : aliases + ", since " + decision.reason)
            : "refused, since " + decision.reason);
    return result;
  }

 private:
  // A run that was killed after it made the version, and before its step was recorded, made it for
  // the run that follows.
  Result<registry::ModelVersion> create_once(const Context& ctx, const std::string& model,
                                             const registry::VersionSpec& spec) const {
    auto versions = services_.registry.versions(model);
    if (!versions) return versions.error();
    for (const registry::ModelVersion& version : *versions) {
      const auto made_by = version.tags.find(kStepTag);
      if (made_by != version.tags.end() && made_by->second == spec.tags.at(kStepTag))
        return version;
    }
    return services_.registry.create_version(ctx, model, spec);
  }

  Services services_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_register(const Services& services) {
  return std::make_unique<RegisterStep>(services);
}

}  // namespace slipway::steps
