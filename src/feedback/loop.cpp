#include "feedback/loop.h"

#include "base/log.h"
#include "feedback/queries.h"

namespace slipway::feedback {
namespace {

Result<std::vector<Trial>> read_trials(db::Connection& connection, const std::string& deployment) {
  auto rows = connection.query(sql::list_trials, deployment);
  if (!rows) return rows.error();
  std::vector<Trial> trials;
  while (rows->next()) {
    Trial trial{.id = rows->integer(0),
                .alias = rows->text(1),
                .version = rows->integer(2),
                .champion = rows->integer(3),
                .started = from_micros(rows->integer(4)),
                .looked = from_micros(rows->integer(5)),
                .state = rows->text(6)};
    if (auto ended = rows->maybe_integer(7)) trial.ended = from_micros(*ended);
    auto decision = parse_json(rows->view(8), "a stored decision");
    if (!decision) return decision.error();
    trial.decision = std::move(*decision);
    trials.push_back(std::move(trial));
  }
  if (auto status = rows->status(); !status) return status.error();
  return trials;
}

Result<std::optional<registry::ModelVersion>> version_of(const registry::Registry& registry,
                                                         const std::string& model,
                                                         const std::string& alias) {
  auto version = registry.find_by_alias(model, alias);
  if (version) return std::optional(std::move(*version));
  if (version.error().code == Code::not_found) return std::optional<registry::ModelVersion>{};
  return version.error();
}

// Rows of one version, with their scores; the views borrow from `columns`.
struct Scored {
  data::Columns columns;
  data::ColumnView id, version, score;
  static Result<Scored> of(const data::TablePtr& table) {
    auto columns = data::Columns::from_table(table);
    if (!columns) return columns.error();
    auto id = columns->column("id");
    auto version = columns->column("version");
    auto score = columns->column("score");
    for (const auto* view : {&id, &version, &score}) {
      if (!*view) return view->error();
    }
    return Scored{std::move(*columns), *id, *version, *score};
  }
};

// A challenger is compared from the next even moment on, a seventh of look_every apart: so that
// what is compared does not depend on when, within such a stretch, somebody looked.
Time first_moment(const PromotionSpec& spec, Time seen) {
  const std::int64_t grid = std::max<std::int64_t>(1, spec.look_every.count() / 7);
  return from_micros((to_micros(seen) / grid + 1) * grid);
}

Time next_look(const PromotionSpec& spec, const Trial& trial) {
  return trial.looked + spec.look_every;
}

}  // namespace

Result<Time> Loop::now_of(const serving::Deployment& deployment) const {
  if (deployment.clock == serving::ClockSource::wall) return parts_.clock.now();
  return parts_.traffic.watermark(deployment.name).value_or(Time{});
}

Result<void> Loop::fired(const Context& ctx, const monitoring::Alert& alert) {
  auto loops = parts_.loops.list();
  if (!loops) return loops.error();
  for (const LoopStore::Stored& loop : *loops) {
    if (loop.deployment != alert.deployment) continue;
    for (const RetrainSpec& entry : loop.spec.retrain) {
      if (std::find(entry.on_alert.begin(), entry.on_alert.end(), alert.rule) ==
          entry.on_alert.end())
        continue;
      const Time due = alert.window.end;
      auto last =
          parts_.db.read([&](db::Connection& connection) -> Result<std::optional<std::int64_t>> {
            auto rows = connection.query(sql::last_trigger, loop.deployment, entry.name);
            if (!rows) return rows.error();
            return rows->next() ? rows->maybe_integer(0) : std::nullopt;
          });
      if (!last) return last.error();
      if (*last && due < from_micros(**last) + entry.cooldown) {
        log::info("retraining is cooling down",
                  {{"deployment", loop.deployment}, {"entry", entry.name}, {"alert", alert.rule}});
        continue;
      }
      if (auto made = trigger(ctx, loop, entry, "alert " + alert.rule, due); !made)
        return made.error();
    }
  }
  return {};
}

Result<void> Loop::resolved(const Context&, const monitoring::Alert&) { return {}; }

Result<bool> Loop::trigger(const Context& ctx, const LoopStore::Stored& loop,
                           const RetrainSpec& entry, const std::string& cause, Time due) {
  Json params = entry.params;
  params["deployment"] = loop.deployment;
  params["alias"] = entry.name;
  params["until"] = format_time(due);
  jobs::NewJob job;
  job.kind = kRetrainJob;
  job.payload = {
      {"file", (std::filesystem::path(loop.folder) / entry.pipeline).lexically_normal().string()},
      {"params", params},
      {"reason", cause},
      {"deployment", loop.deployment}};
  job.idempotency_key = loop.deployment + "/" + entry.name + "/" + cause + "/" + format_time(due);
  return parts_.db.write([&](db::Transaction& tx) -> Result<bool> {
    auto existing = tx.query(sql::find_trigger, loop.deployment, entry.name, cause, to_micros(due));
    if (!existing) return existing.error();
    if (existing->next()) return false;
    auto queued = parts_.queue.enqueue(tx, job);
    if (!queued) return queued.error();
    if (auto put = tx.run(sql::put_trigger, loop.deployment, entry.name, cause, to_micros(due),
                          queued->id);
        !put)
      return put.error();
    const audit::Event event{.actor = ctx.principal.name,
                             .action = "retrain.trigger",
                             .object = "deployments/" + loop.deployment,
                             .details = {{"entry", entry.name},
                                         {"cause", cause},
                                         {"due", format_time(due)},
                                         {"job", queued->id}}};
    if (auto noted = parts_.audit.append(tx, event); !noted) return noted.error();
    return true;
  });
}

Result<int> Loop::follow_schedules(const Context& ctx, const LoopStore::Stored& loop, Time now) {
  int done = 0;
  for (const RetrainSpec& entry : loop.spec.retrain) {
    if (!entry.schedule) continue;
    auto seen =
        parts_.db.read([&](db::Connection& connection) -> Result<std::optional<std::int64_t>> {
          auto rows = connection.query(sql::find_schedule, loop.deployment, entry.name);
          if (!rows) return rows.error();
          return rows->next() ? std::optional(rows->integer(0)) : std::nullopt;
        });
    if (!seen) return seen.error();
    if (*seen) {
      // What fell due while nobody looked counts once: the newest.
      std::optional<Time> due;
      for (Time next = entry.schedule->next(from_micros(**seen)); next <= now;
           next = entry.schedule->next(next))
        due = next;
      if (!due) continue;
      auto made = trigger(ctx, loop, entry, "schedule " + entry.schedule->text(), *due);
      if (!made) return made.error();
      done += *made ? 1 : 0;
    }
    auto kept = parts_.db.write([&](db::Transaction& tx) {
      return tx.run(sql::put_schedule, loop.deployment, entry.name, to_micros(now));
    });
    if (!kept) return kept.error();
  }
  return done;
}

Result<std::optional<evaluation::Comparison>> Loop::compare(const LoopStore::Stored& loop,
                                                            const serving::Deployment& deployment,
                                                            const Trial& trial,
                                                            std::int64_t champion,
                                                            Time until) const {
  auto primary_table = parts_.traffic.read(deployment.name, trial.started, until, false);
  if (!primary_table) return primary_table.error();
  auto shadow_table = parts_.traffic.read(deployment.name, trial.started, until, true);
  if (!shadow_table) return shadow_table.error();
  evaluation::Comparison nothing{.metric = loop.spec.promotion.metric,
                                 .undefined = "no predictions of both versions yet"};
  if (*primary_table == nullptr || *shadow_table == nullptr) return std::optional(nothing);
  auto primary = Scored::of(*primary_table);
  if (!primary) return primary.error();
  auto shadow = Scored::of(*shadow_table);
  if (!shadow) return shadow.error();
  std::unordered_map<std::string_view, double> rival;
  for (std::int64_t row = 0; row < shadow->columns.rows(); ++row) {
    if (shadow->version.integer(row) == trial.version && !shadow->score.is_null(row))
      rival[shadow->id.text(row)] = shadow->score.real(row);
  }
  std::vector<std::string> ids;
  std::vector<double> champion_scores;
  std::vector<double> challenger_scores;
  for (std::int64_t row = 0; row < primary->columns.rows(); ++row) {
    if (primary->version.integer(row) != champion || primary->score.is_null(row)) continue;
    const auto found = rival.find(primary->id.text(row));
    if (found == rival.end()) continue;
    ids.emplace_back(found->first);
    champion_scores.push_back(primary->score.real(row));
    challenger_scores.push_back(found->second);
  }
  auto labels = parts_.labels.find(ids, until + loop.spec.promotion.label_wait);
  if (!labels) return labels.error();
  std::vector<double> truth;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!(*labels)[i]) continue;
    truth.push_back((*labels)[i]->value);
    champion_scores[kept] = champion_scores[i];
    challenger_scores[kept++] = challenger_scores[i];
  }
  champion_scores.resize(kept);
  challenger_scores.resize(kept);
  if (kept == 0) return std::optional(nothing);
  evaluation::BootstrapOptions options{.draws = 400,
                                       .confidence = loop.spec.promotion.confidence_of_a_look(),
                                       .seed = static_cast<std::uint64_t>(trial.version),
                                       .threshold = deployment.threshold};
  auto compared = evaluation::compare(truth, champion_scores, challenger_scores,
                                      loop.spec.promotion.metric, options);
  if (!compared) return compared.error();
  return std::optional(*compared);
}

Result<void> Loop::decide(const Context& ctx, const serving::Deployment& deployment,
                          const Trial& trial, std::int64_t champion, const Verdict& verdict,
                          const Json& decision, Time now) {
  const std::string& model = deployment.model;
  if (auto kept = parts_.registry.record_gate(ctx, model, trial.version,
                                              verdict.kind == Verdict::Kind::promote, decision);
      !kept)
    return kept;
  if (verdict.kind == Verdict::Kind::promote) {
    if (auto moved =
            parts_.registry.set_alias(ctx, model, deployment.alias, trial.version, verdict.reason);
        !moved)
      return moved;
  }
  auto kept = parts_.db.write([&](db::Transaction& tx) -> Result<void> {
    const char* state = verdict.kind == Verdict::Kind::promote ? "promoted" : "refused";
    if (auto put = tx.run(sql::update_trial, champion, to_micros(now), state,
                          std::optional(to_micros(now)), canonical(decision), trial.id);
        !put)
      return put;
    const audit::Event event{.actor = ctx.principal.name,
                             .action = std::string("challenger.") + state,
                             .object = "models/" + model + "/" + std::to_string(trial.version),
                             .details = decision};
    auto noted = parts_.audit.append(tx, event);
    if (!noted) return noted.error();
    return {};
  });
  if (!kept) return kept;
  // Last: as long as the alias stands, the trial can be taken up again.
  return parts_.registry.delete_alias(ctx, model, trial.alias, verdict.reason);
}

Result<int> Loop::follow_challengers(const Context& ctx, const LoopStore::Stored& loop,
                                     const serving::Deployment& deployment, Time now) {
  int done = 0;
  auto champion = version_of(parts_.registry, deployment.model, deployment.alias);
  if (!champion) return champion.error();
  if (!*champion) return 0;
  for (const RetrainSpec& entry : loop.spec.retrain) {
    auto challenger = version_of(parts_.registry, deployment.model, entry.name);
    if (!challenger) return challenger.error();
    if (!*challenger || (*challenger)->number == (*champion)->number) continue;
    auto trials = this->trials(deployment.name);
    if (!trials) return trials.error();
    const auto trial = std::find_if(trials->begin(), trials->end(), [&](const Trial& t) {
      return t.alias == entry.name && t.version == (*challenger)->number;
    });
    if (trial == trials->end()) {
      auto begun = parts_.db.write([&](db::Transaction& tx) -> Result<void> {
        if (auto old = tx.run(sql::supersede_trials, to_micros(now), deployment.name, entry.name,
                              (*challenger)->number);
            !old)
          return old;
        const std::int64_t start = to_micros(first_moment(loop.spec.promotion, now));
        return tx.run(sql::put_trial, deployment.name, entry.name, (*challenger)->number,
                      (*champion)->number, start, start);
      });
      if (!begun) return begun.error();
      ++done;
      continue;
    }
    if (trial->state != "running") {  // killed between the decision and the removal of the alias
      if (auto removed = parts_.registry.delete_alias(ctx, deployment.model, entry.name,
                                                      "the challenger was " + trial->state);
          !removed)
        return removed.error();
      ++done;
      continue;
    }
    const Time look = next_look(loop.spec.promotion, *trial);
    if (now < look + loop.spec.promotion.label_wait) continue;
    auto comparison = compare(loop, deployment, *trial, (*champion)->number, look);
    if (!comparison) return comparison.error();
    const Verdict verdict = judge(loop.spec.promotion, **comparison, look - trial->started);
    const Json decision = {{"alias", entry.name},
                           {"champion", (*champion)->number},
                           {"challenger", trial->version},
                           {"reason", verdict.reason},
                           {"from", format_time(trial->started)},
                           {"until", format_time(look)},
                           {"comparison", (*comparison)->to_json()}};
    log::info("challenger compared", {{"deployment", deployment.name},
                                      {"version", trial->version},
                                      {"verdict", verdict.reason}});
    if (verdict.kind == Verdict::Kind::wait) {
      auto kept = parts_.db.write([&](db::Transaction& tx) {
        return tx.run(sql::update_trial, (*champion)->number, to_micros(look), "running",
                      std::optional<std::int64_t>(), canonical(decision), trial->id);
      });
      if (!kept) return kept.error();
    } else {
      if (auto decided =
              decide(ctx, deployment, *trial, (*champion)->number, verdict, decision, look);
          !decided)
        return decided.error();
      if (verdict.kind == Verdict::Kind::promote) {
        champion = version_of(parts_.registry, deployment.model, deployment.alias);
        if (!champion) return champion.error();
      }
    }
    ++done;
  }
  return done;
}

Result<int> Loop::step(const Context& ctx) {
  const std::scoped_lock lock(step_mutex_);
  auto loops = parts_.loops.list();
  if (!loops) return loops.error();
  int done = 0;
  for (const LoopStore::Stored& loop : *loops) {
    auto deployment = parts_.deployments.get(loop.deployment);
    if (!deployment) continue;  // it was removed; its declaration stays for when it comes back
    if (deployment->model.empty()) deployment->model = deployment->name;
    auto now = now_of(*deployment);
    if (!now) return now.error();
    if (*now == Time{}) continue;  // no traffic yet
    auto scheduled = follow_schedules(ctx, loop, *now);
    if (!scheduled) return scheduled.error();
    auto compared = follow_challengers(ctx, loop, *deployment, *now);
    if (!compared) return compared.error();
    done += *scheduled + *compared;
  }
  return done;
}

Result<std::vector<Trial>> Loop::trials(const std::string& deployment) const {
  return parts_.db.read(
      [&](db::Connection& connection) { return read_trials(connection, deployment); });
}

Result<std::vector<Trigger>> Loop::triggers(const std::string& deployment) const {
  return parts_.db.read([&](db::Connection& connection) -> Result<std::vector<Trigger>> {
    auto rows = connection.query(sql::list_triggers, deployment);
    if (!rows) return rows.error();
    std::vector<Trigger> all;
    while (rows->next())
      all.push_back({rows->text(0), rows->text(1), rows->text(3), from_micros(rows->integer(2))});
    if (auto status = rows->status(); !status) return status.error();
    return all;
  });
}

Result<bool> Loop::settled(const std::string& deployment, Time time) const {
  for (const jobs::JobState state : {jobs::JobState::queued, jobs::JobState::leased}) {
    auto open = parts_.queue.list({.kind = kRetrainJob, .state = state});
    if (!open) return open.error();
    for (const jobs::Job& job : *open) {
      if (job.payload.value("deployment", "") == deployment) return false;
    }
  }
  auto loops = parts_.loops.list();
  if (!loops) return loops.error();
  auto trials = this->trials(deployment);
  if (!trials) return trials.error();
  auto stored = parts_.deployments.get(deployment);
  if (!stored) return stored.error();
  const std::string model = stored->model.empty() ? stored->name : stored->model;
  for (const LoopStore::Stored& loop : *loops) {
    if (loop.deployment != deployment) continue;
    for (const RetrainSpec& entry : loop.spec.retrain) {
      if (entry.schedule) {
        auto seen = parts_.db.read([&](db::Connection& connection) -> Result<std::int64_t> {
          auto rows = connection.query(sql::find_schedule, deployment, entry.name);
          if (!rows) return rows.error();
          return rows->next() ? rows->integer(0) : to_micros(time);
        });
        if (!seen) return seen.error();
        if (entry.schedule->next(from_micros(*seen)) <= time) return false;
      }
      auto challenger = version_of(parts_.registry, model, entry.name);
      if (!challenger) return challenger.error();
      if (!*challenger) continue;
      const auto trial = std::find_if(trials->begin(), trials->end(), [&](const Trial& t) {
        return t.alias == entry.name && t.version == (*challenger)->number;
      });
      if (trial == trials->end() || trial->state != "running") return false;
      if (next_look(loop.spec.promotion, *trial) + loop.spec.promotion.label_wait <= time)
        return false;
    }
  }
  return true;
}

}  // namespace slipway::feedback
