#include "serving/rerun.h"

#include <bit>

#include "serving/sensitive_internal.h"

namespace slipway::serving {
namespace {

// The deployment as it was when it answered, else as it is, else the model of the same name.
Deployment deployment_then(const RerunParts& parts, const Prediction& prediction) {
  if (auto then = parts.deployments.at(prediction.deployment, prediction.time)) return *then;
  if (auto now = parts.deployments.get(prediction.deployment)) return *now;
  return {.name = prediction.deployment, .model = prediction.deployment};
}

Result<double> score_again(const Scorer& scorer, const Prediction& prediction) {
  data::BatchBuilder rows(scorer.inputs());
  for (std::size_t i = 0; i < scorer.inputs().fields.size(); ++i) {
    const std::string& name = scorer.inputs().fields[i].name;
    const auto value = prediction.inputs.find(name);
    if (value == prediction.inputs.end() || value->is_null()) {
      rows.append_null(i);
    } else if (auto added = rows.append_json(i, *value); !added) {
      return added.error();
    }
  }
  auto batch = rows.batch();
  if (!batch) return batch.error();
  double score = 0;
  if (auto scored = scorer.score(*batch, std::span(&score, 1)); !scored) return scored.error();
  return score;
}

}  // namespace

Json Rerun::to_json() const {
  const auto number = [](const std::optional<double>& value) {
    return value ? json_number(*value) : Json(nullptr);
  };
  Json json = {{"id", logged.id},
               {"deployment", logged.deployment},
               {"model", model},
               {"version", logged.version},
               {"time", format_time(logged.time)},
               {"bundle", digest},
               {"logged_score", number(logged.score)},
               {"score", number(score)},
               {"same", same},
               {"inputs", logged.inputs}};
  if (!reason.empty()) json["reason"] = reason;
  return json;
}

Result<Rerun> rerun(const RerunParts& parts, std::string_view id) {
  auto logged = parts.predictions.find(id);
  if (!logged) return logged.error();
  Rerun result{.logged = std::move(*logged)};
  const auto no = [&](std::string why) {
    result.reason = std::move(why);
    return result;
  };
  const Deployment deployment = deployment_then(parts, result.logged);
  result.model = deployment.model;
  if (auto opened = open_inputs(parts.keys, result.logged); !opened)
    return no("its inputs cannot be read: " + opened.error().message);
  auto version = parts.registry.version(result.model, result.logged.version);
  if (!version) return no("the version that answered is gone: " + version.error().message);
  result.digest = version->digest;
  auto scorer = parts.source.load(version->digest);
  if (!scorer) return no("the version that answered cannot be loaded: " + scorer.error().message);
  for (const std::string& name : deployment.mask) {
    if (std::ranges::find((*scorer)->inputs().fields, name, &data::Field::name) !=
        (*scorer)->inputs().fields.end())
      return no("the input '" + name + "' is masked: the log never had it");
  }
  auto score = score_again(**scorer, result.logged);
  if (!score) return no("it does not answer any more: " + score.error().message);
  if (!std::isnan(*score)) result.score = *score;
  result.same = result.score.has_value() == result.logged.score.has_value() &&
                (!result.score || std::bit_cast<std::uint64_t>(*result.score) ==
                                      std::bit_cast<std::uint64_t>(*result.logged.score));
  if (!result.same) result.reason = "the same version gives another score for the logged inputs";
  return result;
}

}  // namespace slipway::serving
