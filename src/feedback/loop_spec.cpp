#include <cmath>

#include "feedback/loop.h"
#include "feedback/queries.h"

namespace slipway::feedback {

int PromotionSpec::looks() const {
  return static_cast<int>(std::max<std::int64_t>(
      1, decide_within.count() / std::max<std::int64_t>(1, look_every.count())));
}

double PromotionSpec::confidence_of_a_look() const { return 1 - (1 - confidence) / looks(); }

LoopSpec LoopSpec::read(SpecReader& reader) {
  LoopSpec spec;
  for (SpecReader& entry : reader.list("retrain")) {
    RetrainSpec retrain;
    retrain.name = entry.text("name");
    retrain.pipeline = entry.text("pipeline");
    retrain.on_alert = entry.texts("on_alert");
    retrain.cooldown = entry.duration("cooldown", retrain.cooldown);
    if (entry.has("schedule")) {
      SpecReader schedule = entry.object("schedule");
      auto read = jobs::Schedule::read(schedule);
      if (read) {
        retrain.schedule = *read;
      } else {
        entry.problem("schedule", read.error().message);
      }
    } else {
      entry.json("schedule");
    }
    if (const Json params = entry.json("params"); params.is_object()) retrain.params = params;
    if (retrain.on_alert.empty() && !retrain.schedule) {
      entry.problem("", "'" + retrain.name + "' would never start: give 'on_alert' or 'schedule'");
    }
    for (const RetrainSpec& other : spec.retrain) {
      if (other.name == retrain.name)
        entry.problem("name", "'" + retrain.name + "' stands here twice");
    }
    entry.close();
    spec.retrain.push_back(std::move(retrain));
  }
  SpecReader promotion = reader.object("promotion");
  PromotionSpec& rules = spec.promotion;
  const std::string metric = promotion.text("metric", std::string(to_string(rules.metric)));
  if (auto parsed = evaluation::parse_metric(metric)) {
    rules.metric = *parsed;
  } else {
    promotion.problem("metric", parsed.error().message);
  }
  rules.min_labelled = promotion.integer("min_labelled", rules.min_labelled);
  rules.look_every = promotion.duration("look_every", rules.look_every);
  rules.decide_within = promotion.duration("decide_within", rules.decide_within);
  rules.label_wait = promotion.duration("label_wait", rules.label_wait);
  rules.confidence = promotion.number("confidence", rules.confidence);
  rules.min_improvement = promotion.number("min_improvement", rules.min_improvement);
  if (!(rules.confidence >= 0.5 && rules.confidence < 1))
    promotion.problem("confidence", "'confidence' has to be between 0.5 and 1");
  if (rules.look_every.count() <= 0)
    promotion.problem("look_every", "'look_every' has to be longer than nothing");
  if (rules.decide_within < rules.look_every)
    promotion.problem("decide_within", "'decide_within' has to be at least 'look_every'");
  if (rules.min_labelled < 1)
    promotion.problem("min_labelled", "'min_labelled' has to be at least 1");
  promotion.close();
  reader.close();
  return spec;
}

Result<void> LoopStore::put(const std::string& deployment, const Json& declared,
                            const std::string& folder) {
  return db_.write([&](db::Transaction& tx) {
    return tx.run(sql::put_loop, deployment, canonical(declared), folder);
  });
}

Result<std::vector<LoopStore::Stored>> LoopStore::list() const {
  return db_.read([&](db::Connection& connection) -> Result<std::vector<Stored>> {
    auto rows = connection.query(sql::list_loops);
    if (!rows) return rows.error();
    std::vector<Stored> all;
    while (rows->next()) {
      auto json = parse_json(rows->view(1), "the feedback loop of " + rows->text(0));
      if (!json) return json.error();
      const auto document =
          SpecDocument::from_json(std::move(*json), "feedback loop of " + rows->text(0));
      SpecReader reader(document);
      Stored stored{rows->text(0), LoopSpec::read(reader), rows->text(2)};
      if (auto sound = reader.finish(); !sound) return sound.error();
      all.push_back(std::move(stored));
    }
    if (auto status = rows->status(); !status) return status.error();
    return all;
  });
}

Verdict judge(const PromotionSpec& spec, const evaluation::Comparison& comparison,
              Duration in_shadow) {
  const std::string name(to_string(comparison.metric));
  const bool last = in_shadow >= spec.decide_within;
  const auto figures = [&] {
    return fmt::format(
        "{} {:.4f} against the champion's {:.4f} on the same {} labelled predictions, improvement "
        "{:+.4f} [{:+.4f}, {:+.4f}] at {:.4g} % confidence",
        name, comparison.challenger, comparison.champion, comparison.rows, comparison.improvement,
        comparison.low, comparison.high, 100 * spec.confidence_of_a_look());
  };
  if (comparison.rows < spec.min_labelled || !comparison.undefined.empty()) {
    const std::string why = !comparison.undefined.empty()
                                ? comparison.undefined
                                : fmt::format("{} labelled predictions, and {} are wanted",
                                              comparison.rows, spec.min_labelled);
    if (last) return {Verdict::Kind::refuse, "not shown to be better in time: " + why};
    return {Verdict::Kind::wait, why};
  }
  if (comparison.low > spec.min_improvement)
    return {Verdict::Kind::promote, "better: " + figures()};
  if (comparison.high < spec.min_improvement) return {Verdict::Kind::refuse, "worse: " + figures()};
  if (last) return {Verdict::Kind::refuse, "not shown to be better in time: " + figures()};
  return {Verdict::Kind::wait, "undecided: " + figures()};
}

}  // namespace slipway::feedback
