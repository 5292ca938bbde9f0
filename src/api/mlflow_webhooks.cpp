// MLflow's webhook calls (mlflow/protos/webhooks.proto). Names of entities and actions are upper
// case on the wire ("MODEL_VERSION_TAG", "SET"), lower case in messages.
#include "api/mlflow_internal.h"
#include "webhooks/webhooks.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;
using webhooks::Webhook;

constexpr std::size_t kMostEvents = 50;

std::string changed(std::string_view text, int (*to)(int)) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [&](unsigned char c) { return static_cast<char>(to(c)); });
  return out;
}

Json to_json(const Webhook& webhook) {
  Json events = Json::array();
  for (const auto& event : webhook.events) {
    const auto dot = event.find('.');
    events.push_back({{"entity", changed(event.substr(0, dot), std::toupper)},
                      {"action", changed(event.substr(dot + 1), std::toupper)}});
  }
  return {{"webhook_id", webhook.id},
          {"name", webhook.name},
          {"description", webhook.description},
          {"url", webhook.url},
          {"events", std::move(events)},
          {"status", webhook.active ? "ACTIVE" : "DISABLED"},
          {"creation_timestamp", to_millis(webhook.created)},
          {"last_updated_timestamp", to_millis(webhook.updated)}};
}

Result<Json> answer(const Result<Webhook>& webhook) {
  if (!webhook) return webhook.error();
  return Json{{"webhook", to_json(*webhook)}};
}

std::string read_event(Params& params) {
  return changed(params.text("entity"), std::tolower) + "." +
         changed(params.text("action"), std::tolower);
}

std::vector<std::string> read_events(Params& params) {
  std::vector<std::string> events;
  for (auto& event : params.objects("events")) events.push_back(read_event(event));
  if (events.size() > kMostEvents) {
    params.fail(invalid_argument(fmt::format(
        "a webhook asks for at most {} events, this one for {}", kMostEvents, events.size())));
  }
  return events;
}

// Missing: nothing.
std::optional<bool> read_active(Params& params) {
  const auto status = params.text_or_empty("status");
  if (status.empty()) return {};
  if (status != "ACTIVE" && status != "DISABLED") {
    params.fail(invalid_argument("status is ACTIVE or DISABLED, found '" + status + "'"));
  }
  return status == "ACTIVE";
}

Result<Json> create(Services& services, const Context& ctx, Params& params) {
  webhooks::WebhookSpec spec{.name = params.text("name"),
                             .description = params.text_or_empty("description"),
                             .url = params.text("url"),
                             .events = read_events(params),
                             .secret = params.text_or_empty("secret"),
                             .active = read_active(params).value_or(true)};
  if (params.problem()) return *params.problem();
  return answer(services.webhooks->create(ctx, spec));
}

// All on one page: there are at most a thousand.
Result<Json> list(Services& services, const Context&, Params&) {
  const auto all = services.webhooks->list();
  if (!all) return all.error();
  Json webhooks = Json::array();
  for (const auto& webhook : *all) webhooks.push_back(to_json(webhook));
  return Json{{"webhooks", std::move(webhooks)}};
}

Result<Json> get(Services& services, const Context&, Params& params) {
  const auto id = params.text("webhook_id");
  if (params.problem()) return *params.problem();
  return answer(services.webhooks->get(id));
}

Result<Json> update(Services& services, const Context& ctx, Params& params) {
  const auto id = params.text("webhook_id");
  webhooks::WebhookChange change{.name = params.maybe_text("name"),
                                 .description = params.maybe_text("description"),
                                 .url = params.maybe_text("url"),
                                 .secret = params.maybe_text("secret")};
  if (auto events = read_events(params); !events.empty()) change.events = std::move(events);
  change.active = read_active(params);
  if (params.problem()) return *params.problem();
  return answer(services.webhooks->update(ctx, id, change));
}

Result<Json> remove(Services& services, const Context& ctx, Params& params) {
  const auto id = params.text("webhook_id");
  if (params.problem()) return *params.problem();
  return empty_or(services.webhooks->remove(ctx, id));
}

Result<Json> test(Services& services, const Context& ctx, Params& params) {
  const auto id = params.text("webhook_id");
  std::string event;
  if (params.has("event")) {
    auto object = params.object("event");
    event = read_event(object);
  }
  if (params.problem()) return *params.problem();
  const auto result = services.webhooks->test(ctx, id, event);
  if (!result) return result.error();
  Json json = {{"success", result->success}};
  if (result->status != 0) json["response_status"] = result->status;
  if (!result->body.empty()) json["response_body"] = result->body;
  if (!result->error.empty()) json["error_message"] = result->error;
  return Json{{"result", std::move(json)}};
}

constexpr Endpoint kEndpoints[] = {
    {"POST", "webhooks", Access::manage, create},
    {"GET", "webhooks", Access::manage, list},
    {"GET", "webhooks/{webhook_id}", Access::manage, get},
    {"PATCH", "webhooks/{webhook_id}", Access::manage, update},
    {"DELETE", "webhooks/{webhook_id}", Access::manage, remove},
    {"POST", "webhooks/{webhook_id}/test", Access::manage, test},
};

}  // namespace

std::span<const Endpoint> webhook_endpoints() { return kEndpoints; }

}  // namespace slipway::api::mlflow
