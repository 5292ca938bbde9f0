// A home with every store that step kinds work on, and a small table of rows: what a test of whole
// pipelines starts from. Wired as cli/home.cpp wires the program, without webhooks.
#pragma once
#include <fstream>

#include "feedback/loop.h"
#include "monitoring/traffic.h"
#include "pipeline/engine.h"
#include "serving/prediction_log.h"
#include "steps/steps.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::test {

class NoReferences final : public monitoring::References {
 public:
  Result<std::shared_ptr<const monitoring::Reference>> find(const std::string&,
                                                            std::int64_t) override {
    return std::shared_ptr<const monitoring::Reference>();
  }
};

class NoWebhooks final : public monitoring::Webhooks {
 public:
  Result<void> post(const Context&, const std::string&, const std::string&,
                    const std::string&) override {
    return unavailable("no webhooks in this test");
  }
};

class StepsHome {
 public:
  StepsHome() { opened = open(); }

  // Runs a pipeline given as text, whose relative paths start at folder.
  Result<pipeline::RunReport> run(const std::string& text,
                                  const pipeline::RunOptions& options = {}) {
    auto spec = pipeline::PipelineSpec::parse(text, "p.yaml", folder, kinds_, {});
    if (!spec) return spec.error();
    Context ctx;
    ctx.principal.name = "tester";
    return engine_->run(ctx, *spec, options);
  }

  Scratch scratch;
  std::filesystem::path folder;
  ManualClock clock{kNoon2013};
  RandomIds ids;
  std::unique_ptr<db::Database> db;
  std::unique_ptr<blob::Store> blobs;
  std::unique_ptr<audit::Log> audit;
  std::unique_ptr<data::DatasetStore> datasets;
  std::unique_ptr<features::ViewStore> views;
  std::shared_ptr<features::LiveViews> live_views;
  std::unique_ptr<tracking::Tracking> tracking;
  std::unique_ptr<registry::Registry> registry;
  std::unique_ptr<serving::DeploymentStore> deployments;
  std::unique_ptr<governance::Lineage> lineage;
  Result<void> opened;

 private:
  template <class T>
  static Result<void> keep(Result<std::unique_ptr<T>> made, std::unique_ptr<T>& place) {
    if (!made) return made.error();
    place = std::move(*made);
    return {};
  }

  Result<void> open() {
    folder = scratch / "work";
    const auto home = scratch / "home";
    for (const auto& dir : {folder, home, home / "predictions"}) {
      if (auto made = make_dirs(dir); !made) return made;
    }
    if (auto done = keep(
            db::Database::open(test::database_at(home / "slipway.db"), {.durable = false}), db);
        !done)
      return done;
    if (auto done = keep(blob::Store::open(home / "blobs"), blobs); !done) return done;
    if (auto done = keep(audit::Log::open(*db, home / "keys", clock), audit); !done) return done;
    if (auto done = keep(jobs::Queue::open(*db, clock, ids), queue_); !done) return done;
    if (auto done = keep(data::DatasetStore::open(*db, *blobs, *audit, clock), datasets); !done)
      return done;
    if (auto done = keep(features::ViewStore::open(*db, *datasets, *audit, clock), views); !done)
      return done;
    live_views = std::make_shared<features::LiveViews>(*views);
    if (auto done = keep(tracking::Tracking::open(*db, clock, ids), tracking); !done) return done;
    if (auto done = keep(registry::Registry::open(*db, *audit, clock), registry); !done)
      return done;
    if (auto done = keep(serving::DeploymentStore::open(*db, *audit, clock), deployments); !done)
      return done;
    if (auto done = keep(serving::PredictionLog::open(home / "predictions", {}), predictions_);
        !done)
      return done;
    traffic_ = std::make_unique<monitoring::PredictionTraffic>(*predictions_);
    if (auto done = keep(feedback::LabelStore::open(*db, clock), labels_); !done) return done;
    loops_ = std::make_unique<feedback::LoopStore>(*db);
    loop_ = std::make_unique<feedback::Loop>(feedback::Loop::Parts{
        *db, *audit, *queue_, *registry, *deployments, *labels_, *loops_, *traffic_, clock});
    if (auto done = keep(monitoring::Monitor::open({*db, *audit, ids, *traffic_, *labels_,
                                                    references_, *loop_, webhooks_}),
                         monitor_);
        !done)
      return done;
    if (auto done = keep(governance::Lineage::open(*db, clock), lineage); !done) return done;
    steps::add_step_kinds(
        kinds_, {*blobs, *datasets, *tracking, *registry, *deployments, *monitor_, *labels_,
                 *loops_, *lineage, clock, ids, *traffic_, *views, live_views});
    return keep(pipeline::Engine::open({*db, *blobs, *audit, clock, ids, home}, kinds_), engine_);
  }

  std::unique_ptr<jobs::Queue> queue_;
  std::unique_ptr<serving::PredictionLog> predictions_;
  std::unique_ptr<monitoring::Traffic> traffic_;
  std::unique_ptr<feedback::LabelStore> labels_;
  std::unique_ptr<feedback::LoopStore> loops_;
  std::unique_ptr<feedback::Loop> loop_;
  NoReferences references_;
  NoWebhooks webhooks_;
  std::unique_ptr<monitoring::Monitor> monitor_;
  pipeline::StepKinds kinds_;
  std::unique_ptr<pipeline::Engine> engine_;
};

inline const pipeline::StepReport& step_named(const pipeline::RunReport& run,
                                              std::string_view name) {
  const auto found = std::find_if(run.steps.begin(), run.steps.end(),
                                  [&](const auto& step) { return step.name == name; });
  if (found == run.steps.end()) throw std::out_of_range("no step " + std::string(name));
  return *found;
}

}  // namespace slipway::test
