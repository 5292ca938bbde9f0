// `webhooks`: who is told of changes in the registry, what is owed to them, and telling it again.
#include <iostream>

#include "api/registry_api.h"
#include "cli/command_internal.h"

namespace slipway::cli {
namespace {

int list_webhooks(const Globals& globals, Home& home) {
  const auto webhooks = home.webhooks().list();
  if (!webhooks) return fail(webhooks.error());
  TextTable table({"WEBHOOK", "STATE", "SIGNED", "EVENTS", "URL"});
  Json all = Json::array();
  for (const auto& webhook : *webhooks) {
    // What follows "?" may be a token.
    const std::string url = webhook.url.substr(0, webhook.url.find('?'));
    table.add({webhook.name, webhook.active ? "active" : "disabled",
               webhook.has_secret ? "yes" : "no", fmt::format("{}", fmt::join(webhook.events, " ")),
               url});
    all.push_back({{"id", webhook.id},
                   {"name", webhook.name},
                   {"active", webhook.active},
                   {"signed", webhook.has_secret},
                   {"events", webhook.events},
                   {"url", url}});
  }
  return print(globals, table, all);
}

int list_deliveries(const Globals& globals, Home& home, const webhooks::Webhooks::Filter& filter) {
  const auto found = home.webhooks().deliveries(filter);
  if (!found) return fail(found.error());
  TextTable table({"EVENT", "NAME", "WEBHOOK", "STATE", "ATTEMPTS", "TIME", "LAST ERROR"});
  Json all = Json::array();
  for (const auto& delivery : *found) {
    table.add({std::to_string(delivery.event), delivery.event_name, delivery.webhook,
               std::string(webhooks::to_string(delivery.state)), std::to_string(delivery.attempts),
               format_time(delivery.at).substr(0, 19), delivery.last_error});
    all.push_back(api::to_json(delivery));
  }
  return print(globals, table, all);
}

int replay(const Globals& globals, Home& home, const webhooks::Replay& replay) {
  const Context ctx = interruptible_context();
  const auto owed = home.webhooks().replay(ctx, replay);
  if (!owed) return fail(owed.error());
  if (globals.json) {
    std::cout << Json{{"messages", *owed}}.dump() << "\n";
  } else {
    std::cout << *owed << " messages are owed to '" << replay.webhook
              << "' again; a running server sends them\n";
  }
  return 0;
}

struct WebhookFlags {
  webhooks::Webhooks::Filter filter;
  webhooks::Replay replay;
  std::string state;
};

}  // namespace

void add_webhooks(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<WebhookFlags>();
  CLI::App* hooks =
      noun(app, "webhooks", "Who is told of changes in the registry, and what is owed");
  const auto with = [&globals](std::function<int(Home&)> body) {
    return [&globals, body = std::move(body)] {
      globals.exit_code = with_home(globals, {.create = false}, body);
    };
  };

  CLI::App* ls = hooks->add_subcommand("ls", "List the webhooks");
  ls->add_flag("--json", globals.json, "Print JSON");
  ls->footer(
      "Example: slipway webhooks ls\nThey are made with MLflow's client: "
      "MlflowClient().create_webhook(…).");
  ls->callback(with([&globals](Home& home) { return list_webhooks(globals, home); }));

  const auto listing = [&](CLI::App* command) {
    command->add_option("--webhook", flags->filter.webhook, "Of this webhook only");
    command->add_option("--limit", flags->filter.limit, "At most so many")->capture_default_str();
    command->add_flag("--json", globals.json, "Print JSON");
  };
  CLI::App* deliveries =
      hooks->add_subcommand("deliveries", "List messages and what became of them, newest first");
  listing(deliveries);
  deliveries->add_option("--state", flags->state, "Only these: pending, delivered or dead");
  deliveries->footer("Example: slipway webhooks deliveries --state pending");
  deliveries->callback(with([&globals, flags](Home& home) {
    const auto state = api::parse_delivery_state(flags->state);
    if (!state) return fail(state.error());
    flags->filter.state = *state;
    return list_deliveries(globals, home, flags->filter);
  }));
  CLI::App* dead = hooks->add_subcommand(
      "dead", "List dead letters: messages that were refused, or tried too often");
  listing(dead);
  dead->footer("Example: slipway webhooks dead");
  dead->callback(with([&globals, flags](Home& home) {
    flags->filter.state = webhooks::DeliveryState::dead;
    return list_deliveries(globals, home, flags->filter);
  }));

  CLI::App* again = hooks->add_subcommand(
      "replay", "Send events again: all from one on, or the dead letters. Delivery ids stay");
  again->add_option("webhook", flags->replay.webhook, "Its name or id")->required();
  CLI::Option* from =
      again->add_option("--from", flags->replay.from_event, "The number of the first event");
  CLI::Option* only_dead =
      again->add_flag("--dead", flags->replay.only_dead, "Only dead letters, of any number");
  from->excludes(only_dead);
  again->add_flag("--json", globals.json, "Print JSON");
  again->footer("Example: slipway webhooks replay deploy-bot --from 120");
  again->callback(with([&globals, flags, from, only_dead](Home& home) {
    if (from->count() == 0 && only_dead->count() == 0)
      return fail(invalid_argument("say what to send again: --from EVENT or --dead"));
    return replay(globals, home, flags->replay);
  }));
}

}  // namespace slipway::cli
