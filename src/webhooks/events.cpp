#include <algorithm>

#include "webhooks/webhooks.h"

namespace slipway::webhooks {
namespace {

// The events of MLflow 3.17's client (mlflow.entities.webhook), with the members their data has.
// budget_policy.exceeded belongs to its gateway, which is not here: it may be asked for, and never
// comes.
struct Known {
  std::string_view name;
  std::string_view members;  // of the example, as JSON
};
constexpr Known kKnown[] = {
    {"registered_model.created",
     R"({"name": "example_model", "tags": {"team": "ops"}, "description": "an example"})"},
    {"model_version.created",
     R"({"name": "example_model", "version": "1", "source": "models:/m-1", "run_id": "1a2b3c",
         "tags": {"team": "ops"}, "description": "an example"})"},
    {"model_version_tag.set",
     R"({"name": "example_model", "version": "1", "key": "team", "value": "ops"})"},
    {"model_version_tag.deleted", R"({"name": "example_model", "version": "1", "key": "team"})"},
    {"model_version_alias.created",
     R"({"name": "example_model", "alias": "champion", "version": "1"})"},
    {"model_version_alias.deleted", R"({"name": "example_model", "alias": "champion"})"},
    {"prompt.created",
     R"({"name": "example_prompt", "tags": {"team": "ops"}, "description": "an example"})"},
    {"prompt_version.created",
     R"({"name": "example_prompt", "version": "1", "template": "Say {{word}}",
         "tags": {"team": "ops"}, "description": "an example"})"},
    {"prompt_tag.set", R"({"name": "example_prompt", "key": "team", "value": "ops"})"},
    {"prompt_tag.deleted", R"({"name": "example_prompt", "key": "team"})"},
    {"prompt_version_tag.set",
     R"({"name": "example_prompt", "version": "1", "key": "team", "value": "ops"})"},
    {"prompt_version_tag.deleted", R"({"name": "example_prompt", "version": "1", "key": "team"})"},
    {"prompt_alias.created",
     R"({"name": "example_prompt", "alias": "production", "version": "1"})"},
    {"prompt_alias.deleted", R"({"name": "example_prompt", "alias": "production"})"},
    {"budget_policy.exceeded",
     R"({"budget_policy_id": "bp-1", "budget_unit": "USD", "budget_amount": 100.0,
         "current_spend": 101.5, "duration_unit": "MONTHS", "duration_value": 1,
         "target_scope": "GLOBAL", "workspace": "default", "target_value": null,
         "window_start": 1704067200000})"},
};

}  // namespace

bool is_event_name(std::string_view name) {
  return std::ranges::find(kKnown, name, &Known::name) != std::end(kKnown);
}

Json example_data(std::string_view event_name) {
  const auto* known = std::ranges::find(kKnown, event_name, &Known::name);
  if (known == std::end(kKnown)) return Json::object();
  return Json::parse(known->members);
}

std::string_view to_string(DeliveryState state) {
  switch (state) {
    case DeliveryState::pending:
      return "pending";
    case DeliveryState::delivered:
      return "delivered";
    case DeliveryState::dead:
      return "dead";
  }
  return "pending";
}

}  // namespace slipway::webhooks
