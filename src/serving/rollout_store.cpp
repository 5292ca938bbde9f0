#include "base/log.h"
#include "serving/migrations.h"
#include "serving/queries.h"
#include "serving/rollout.h"

namespace slipway::serving {
namespace {

constexpr std::chrono::seconds kLabelsEvery{10};

ArmCounts minus(const ArmCounts& now, const ArmCounts& before) {
  return {.requests = now.requests - before.requests,
          .failures = now.failures - before.failures,
          .slow = now.slow - before.slow};
}

Result<RolloutState> parse_state(const std::string& text) {
  using enum RolloutState;
  for (const auto state :
       {running, paused, promoting, rolling_back, promoted, rolled_back, aborted}) {
    if (text == to_string(state)) return state;
  }
  return data_loss("a stored rollout is '" + text + "', which is no state of one");
}

Json body_of(const Rollout& rollout) {
  Json began = Json::array();
  for (const Time time : rollout.stage_began) began.push_back(to_micros(time));
  return {{"spec", rollout.spec.to_json()},
          {"control_version", rollout.control_version},
          {"candidate_version", rollout.candidate_version},
          {"stage", rollout.stage},
          {"stage_began", began},
          {"stage_requests", rollout.stage_requests},
          {"control", rollout.control.to_json()},
          {"candidate", rollout.candidate.to_json()},
          {"labelled", rollout.labelled},
          {"errors", rollout.errors.to_json()},
          {"latency", rollout.latency.to_json()},
          {"quality", rollout.quality.to_json()},
          {"reason", rollout.reason}};
}

ArmCounts counts_in(const Json& json) {
  return {.requests = json.value("requests", std::int64_t{0}),
          .failures = json.value("failures", std::int64_t{0}),
          .slow = json.value("slow", std::int64_t{0})};
}

Result<Rollout> rollout_in(const db::Rows& row) {
  auto body = parse_json(row.text(5), "stored rollout");
  if (!body) return body.error();
  auto state = parse_state(row.text(2));
  if (!state) return state.error();
  Rollout rollout{.id = row.text(0),
                  .deployment = row.text(1),
                  .state = *state,
                  .started = from_micros(row.integer(3)),
                  .updated = from_micros(row.integer(4))};
  const auto document =
      SpecDocument::from_json(body->value("spec", Json::object()), "rollout '" + rollout.id + "'");
  SpecReader reader(document);
  rollout.spec = RolloutSpec::read(reader);
  if (auto sound = reader.finish(); !sound) return sound.error();
  rollout.control_version = body->value("control_version", std::int64_t{0});
  rollout.candidate_version = body->value("candidate_version", std::int64_t{0});
  rollout.stage = std::min(body->value("stage", std::size_t{0}), rollout.spec.stages.size() - 1);
  for (const Json& time : body->value("stage_began", Json::array()))
    rollout.stage_began.push_back(from_micros(time.get<std::int64_t>()));
  rollout.stage_requests = body->value("stage_requests", std::int64_t{0});
  rollout.control = counts_in(body->value("control", Json::object()));
  rollout.candidate = counts_in(body->value("candidate", Json::object()));
  rollout.labelled = body->value("labelled", std::int64_t{0});
  for (const auto& [key, place] :
       {std::pair{"errors", &rollout.errors}, std::pair{"latency", &rollout.latency},
        std::pair{"quality", &rollout.quality}}) {
    auto evidence = Evidence::from_json(body->value(key, Json()));
    if (!evidence) return evidence.error();
    *place = *evidence;
  }
  rollout.reason = body->value("reason", "");
  return rollout;
}

Result<std::vector<Rollout>> rollouts_of(Result<db::Rows> rows) {
  if (!rows) return rows.error();
  std::vector<Rollout> all;
  while (rows->next()) {
    auto rollout = rollout_in(*rows);
    if (!rollout) return rollout.error();
    all.push_back(std::move(*rollout));
  }
  if (auto status = rows->status(); !status) return status.error();
  return all;
}

}  // namespace

Result<std::unique_ptr<Rollouts>> Rollouts::open(const Parts& parts) {
  if (auto migrated = parts.db.migrate("serving", kMigrations); !migrated) return migrated.error();
  return std::unique_ptr<Rollouts>(new Rollouts(parts));
}

Result<std::vector<Rollout>> Rollouts::list(const std::string& deployment) const {
  return parts_.db.read([&](db::Connection& connection) {
    return rollouts_of(connection.query(sql::list_rollouts, deployment));
  });
}

Result<Rollout> Rollouts::find_open(const std::string& deployment) const {
  auto found = parts_.db.read([&](db::Connection& connection) {
    return rollouts_of(connection.query(sql::find_open_rollout, deployment));
  });
  if (!found) return found.error();
  if (found->empty()) {
    return failed_precondition(fmt::format(
        "no rollout of deployment '{}' is under way; `slipway deploy rollout` starts one",
        deployment));
  }
  return std::move(found->front());
}

// The row and its audit entry. `action` empty: evidence grew, which is no event.
Result<Rollout> Rollouts::save(const Context& ctx, Rollout rollout, const std::string& action) {
  rollout.updated = parts_.clock.now();
  return parts_.db.write([&](db::Transaction& tx) -> Result<Rollout> {
    const auto body = canonical(body_of(rollout));
    const auto state = to_string(rollout.state);
    const auto ran =
        action == "rollout.start"
            ? tx.run(sql::insert_rollout, rollout.id, rollout.deployment, state,
                     to_micros(rollout.updated), body)
            : tx.run(sql::update_rollout, rollout.id, state, to_micros(rollout.updated), body);
    if (!ran) return ran.error();
    if (action.empty()) return rollout;
    auto entry = parts_.audit.append(
        tx, {.actor = ctx.principal.name,
             .action = action,
             .object = "deployments/" + rollout.deployment + "/rollouts/" + rollout.id,
             .details = {{"control_version", rollout.control_version},
                         {"candidate_version", rollout.candidate_version},
                         {"state", state},
                         {"weight", rollout.weight()},
                         {"candidate", rollout.candidate.to_json()},
                         {"control", rollout.control.to_json()},
                         {"labelled", rollout.labelled},
                         {"reason", rollout.reason}}});
    if (!entry) return entry.error();
    return rollout;
  });
}

// The candidate's share in the deployment's own declaration; 0: none. Nothing is changed that is
// so already.
Result<void> Rollouts::share(const Context& ctx, const Rollout& rollout, double weight) {
  auto deployment = parts_.deployments.get(rollout.deployment);
  if (!deployment) return deployment.error();
  std::erase_if(deployment->canaries,
                [&](const Canary& canary) { return canary.alias == rollout.spec.candidate; });
  if (weight > 0)
    deployment->canaries.push_back({.alias = rollout.spec.candidate, .weight = weight});
  auto updated = parts_.deployments.update(ctx, std::move(*deployment));
  if (!updated) return updated.error();
  return {};
}

Result<Rollout> Rollouts::start(const Context& ctx, const std::string& name, RolloutSpec spec) {
  if (auto sound = spec.validate(); !sound) return sound.error();
  const std::scoped_lock lock(mutex_);
  auto deployment = parts_.deployments.get(name);
  if (!deployment) return deployment.error();
  if (find_open(name)) {
    return already_exists(
        fmt::format("a rollout of deployment '{}' is under way; promote or abort it first", name));
  }
  auto control = parts_.registry.find_by_alias(deployment->model, deployment->alias);
  if (!control) return control.error();
  auto candidate = parts_.registry.find_by_alias(deployment->model, spec.candidate);
  if (!candidate) return candidate.error();
  if (control->number == candidate->number) {
    return failed_precondition(fmt::format("'{}' and '{}' of model '{}' are both version {}",
                                           spec.candidate, deployment->alias, deployment->model,
                                           control->number));
  }
  Rollout rollout{.id = parts_.ids.next(),
                  .deployment = name,
                  .started = parts_.clock.now(),
                  .spec = std::move(spec),
                  .control_version = control->number,
                  .candidate_version = candidate->number};
  rollout.stage_began = {rollout.started};
  rollout.reason = "started";
  auto saved = save(ctx, std::move(rollout), "rollout.start");
  if (!saved) return saved.error();
  if (auto shared = share(ctx, *saved, saved->weight()); !shared) return shared.error();
  return saved;
}

Result<Rollout> Rollouts::decide(const Context& ctx, const std::string& deployment,
                                 RolloutState state, const std::string& reason) {
  const std::scoped_lock lock(mutex_);
  auto rollout = find_open(deployment);
  if (!rollout) return rollout;
  if (rollout->state != RolloutState::running && rollout->state != RolloutState::paused) {
    return failed_precondition(fmt::format("the rollout of deployment '{}' is {} already",
                                           deployment, to_string(rollout->state)));
  }
  if (rollout->state == state) return rollout;
  rollout->state = state;
  rollout->reason = reason;
  using enum RolloutState;
  const std::string action = state == paused      ? "rollout.pause"
                             : state == running   ? "rollout.resume"
                             : state == promoting ? "rollout.promote"
                                                  : "rollout.abort";
  auto saved = save(ctx, std::move(*rollout), action);
  if (!saved || state == paused || state == running) return saved;
  return settle(ctx, std::move(*saved));
}

Result<Rollout> Rollouts::pause(const Context& ctx, const std::string& deployment) {
  return decide(ctx, deployment, RolloutState::paused, "paused by hand");
}
Result<Rollout> Rollouts::resume(const Context& ctx, const std::string& deployment) {
  return decide(ctx, deployment, RolloutState::running, "resumed by hand");
}
Result<Rollout> Rollouts::promote(const Context& ctx, const std::string& deployment) {
  return decide(ctx, deployment, RolloutState::promoting, "promoted by hand");
}
Result<Rollout> Rollouts::abort(const Context& ctx, const std::string& deployment) {
  return decide(ctx, deployment, RolloutState::rolling_back, "aborted by hand");
}

// What was decided is done, and done again after a crash in between.
Result<Rollout> Rollouts::settle(const Context& ctx, Rollout rollout) {
  auto deployment = parts_.deployments.get(rollout.deployment);
  if (!deployment) return deployment.error();
  if (rollout.state == RolloutState::promoting) {
    auto moved = parts_.registry.set_alias(ctx, deployment->model, deployment->alias,
                                           rollout.candidate_version,
                                           "rollout " + rollout.id + ": " + rollout.reason);
    if (!moved) return moved.error();
  }
  if (auto shared = share(ctx, rollout, 0); !shared) return shared.error();
  if (rollout.state == RolloutState::promoting) {
    rollout.state = RolloutState::promoted;
  } else {
    rollout.state =
        rollout.reason.ends_with("by hand") ? RolloutState::aborted : RolloutState::rolled_back;
  }
  log::info("rollout ended", {{"deployment", rollout.deployment},
                              {"version", rollout.candidate_version},
                              {"state", to_string(rollout.state)},
                              {"reason", rollout.reason}});
  return save(ctx, std::move(rollout), "rollout.end");
}

Result<void> Rollouts::step(const Context& ctx, const Traffic& traffic, const Outcomes& outcomes) {
  const std::scoped_lock lock(mutex_);
  auto open = parts_.db.read([](db::Connection& connection) {
    return rollouts_of(connection.query(sql::list_open_rollouts));
  });
  if (!open) return open.error();
  std::erase_if(seen_, [&](const auto& entry) {
    return std::ranges::find(*open, entry.first, &Rollout::id) == open->end();
  });
  Result<void> first_problem;
  for (Rollout& rollout : *open) {
    if (auto wanted = ctx.check(); !wanted) return wanted;
    auto looked = look(ctx, std::move(rollout), traffic, outcomes);
    if (!looked && first_problem) first_problem = looked;
  }
  return first_problem;
}

Result<void> Rollouts::look(const Context& ctx, Rollout rollout, const Traffic& traffic,
                            const Outcomes& outcomes) {
  auto deployment = parts_.deployments.get(rollout.deployment);
  if (!deployment && deployment.error().code == Code::not_found) {
    rollout.state = RolloutState::aborted;
    rollout.reason = "the deployment was removed";
    auto saved = save(ctx, std::move(rollout), "rollout.end");
    if (!saved) return saved.error();
    return {};
  }
  if (!deployment) return deployment.error();
  const auto ended = [](const Result<Rollout>& settled) -> Result<void> {
    if (!settled) return settled.error();
    return {};
  };
  if (rollout.state == RolloutState::promoting || rollout.state == RolloutState::rolling_back)
    return ended(settle(ctx, std::move(rollout)));

  const auto control = parts_.registry.find_by_alias(deployment->model, deployment->alias);
  const auto candidate = parts_.registry.find_by_alias(deployment->model, rollout.spec.candidate);
  if (!control || control->number != rollout.control_version || !candidate ||
      candidate->number != rollout.candidate_version) {
    rollout.state = RolloutState::rolling_back;
    rollout.reason = "the aliases moved meanwhile, so what is compared is gone";
    auto saved = save(ctx, std::move(rollout), "rollout.roll_back");
    if (!saved) return saved.error();
    return ended(settle(ctx, std::move(*saved)));
  }

  const Time now = parts_.clock.now();
  const ArmCounts control_now =
      traffic(rollout.deployment, rollout.control_version, rollout.spec.slow_us);
  const ArmCounts candidate_now =
      traffic(rollout.deployment, rollout.candidate_version, rollout.spec.slow_us);
  const auto [seen, is_new] =
      seen_.try_emplace(rollout.id, Seen{control_now, candidate_now, Time{}});
  if (is_new) {
    // A rollout that was started elsewhere, or before a restart: its share is as it says.
    if (auto shared = share(ctx, rollout, rollout.weight()); !shared) return shared;
  }
  RolloutObservation observed{.control = minus(control_now, seen->second.control),
                              .candidate = minus(candidate_now, seen->second.candidate),
                              .outcomes = {}};
  if (rollout.spec.labels && outcomes && now - seen->second.outcomes_at >= kLabelsEvery) {
    auto known = outcomes(rollout.deployment, rollout.started);
    if (!known) return known.error();
    observed.outcomes = std::move(*known);
    seen->second.outcomes_at = now;
  }
  const bool nothing_new = observed.control.requests == 0 && observed.control.failures == 0 &&
                           observed.candidate.requests == 0 && observed.candidate.failures == 0 &&
                           !observed.outcomes;
  const Rollout before = rollout;
  Rollout after = advance(std::move(rollout), observed, now);
  const bool moved = after.state != before.state || after.stage != before.stage;
  if (nothing_new && !moved) return {};
  auto saved = save(ctx, std::move(after),
                    !moved                                      ? ""
                    : after.state == RolloutState::rolling_back ? "rollout.roll_back"
                    : after.state == RolloutState::promoting    ? "rollout.promote"
                                                                : "rollout.advance");
  if (!saved) return saved.error();
  seen->second.control = control_now;
  seen->second.candidate = candidate_now;
  if (!moved) return {};
  if (saved->state == RolloutState::running) return share(ctx, *saved, saved->weight());
  return ended(settle(ctx, std::move(*saved)));
}

}  // namespace slipway::serving
