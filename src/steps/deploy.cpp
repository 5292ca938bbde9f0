// `deploy`: a name that callers use, bound to a model's alias; what is watched about it; what makes
// it retrain.
//   deploy:
//     name: flights
//     model: ${steps.register.model}
//     alias: champion
//     shadows: [challenger, baseline]
//     canaries: [{alias: next, weight: 0.05}]   # and the other keys of serving/deployments.h
//     clock: request                     # for replays: time comes with the requests
//     monitor: { … }                     # monitoring/spec.h
//     feedback: { … }                    # feedback/loop.h
#include "steps/common_internal.h"

namespace slipway::steps {
namespace {

struct DeploySpec {
  serving::Deployment deployment;
  std::optional<monitoring::MonitorSpec> monitor;
  Json feedback;
  static DeploySpec read(SpecReader& reader) {
    DeploySpec spec;
    serving::Deployment& deployment = spec.deployment;
    deployment.name = reader.text("name");
    deployment.model = reader.text("model", deployment.name);
    serving::Deployment::read_options(reader, deployment);
    if (reader.has("monitor")) {
      SpecReader monitor = reader.object("monitor");
      spec.monitor = monitoring::MonitorSpec::read(monitor, deployment.name);
      spec.monitor->request_clock = deployment.clock == serving::ClockSource::request;
      spec.monitor->threshold = deployment.threshold;
    } else {
      reader.json("monitor");
    }
    if (reader.has("feedback")) {
      SpecReader feedback = reader.object("feedback");
      feedback::LoopSpec::read(feedback);
      spec.feedback = feedback.value();
    } else {
      reader.json("feedback");
    }
    return spec;
  }
};

class DeployStep final : public pipeline::StepKind {
 public:
  explicit DeployStep(const Services& services) : services_(services) {}
  std::string_view name() const override { return "deploy"; }
  Result<void> check(SpecReader& config) const override {
    DeploySpec::read(config);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"deployment", "version"}};
  }
  std::vector<std::string> produces(const Json& config) const override {
    return {"deployment " + config.value("name", "")};
  }
  Result<std::optional<std::string>> stale(const Context&, const pipeline::StepInputs&,
                                           const Json& outputs) const override {
    const std::string name = outputs.value("deployment", "");
    if (!services_.deployments.get(name))
      return std::optional("the deployment '" + name + "' was removed");
    return std::optional<std::string>{};
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    const DeploySpec spec = DeploySpec::read(reader);
    if (auto sound = reader.finish(); !sound) return sound.error();
    auto version = services_.registry.find_by_alias(spec.deployment.model, spec.deployment.alias);
    if (!version) return version.error().at(call.config.place("alias"));
    auto deployed = services_.deployments.put(ctx, spec.deployment);
    if (!deployed) return deployed.error();
    if (spec.monitor) {
      if (auto watched = services_.monitor.configure(ctx, *spec.monitor, services_.clock.now());
          !watched)
        return watched.error();
    }
    if (!spec.feedback.is_null()) {
      if (auto kept = services_.loops.put(spec.deployment.name, spec.feedback,
                                          call.config.folder().string());
          !kept)
        return kept.error();
    }
    const governance::Node from{governance::NodeType::model_version,
                                version->model + "/" + std::to_string(version->number)};
    const governance::Node into{governance::NodeType::deployment, spec.deployment.name};
    if (auto noted = services_.lineage.record(ctx, {from, into, "deploy"}); !noted)
      return noted.error();
    pipeline::StepResult result;
    result.outputs = {{"deployment", spec.deployment.name}, {"version", version->number}};
    std::string shadows;
    for (const std::string& shadow : spec.deployment.shadows)
      shadows += (shadows.empty() ? "" : ", ") + shadow;
    result.summary = fmt::format("{} serves {}@{} (version {}){}", spec.deployment.name,
                                 version->model, spec.deployment.alias, version->number,
                                 shadows.empty() ? "" : ", in shadow: " + shadows);
    return result;
  }

 private:
  Services services_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_deploy(const Services& services) {
  return std::make_unique<DeployStep>(services);
}

}  // namespace slipway::steps
