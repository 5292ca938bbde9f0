// The step kinds that pipelines are made of, each a thin call of the folders to the left:
//   ingest     files -> SQL -> an immutable dataset version, with profile and provenance
//   transform  dataset versions -> SQL -> a dataset version
//   validate   expectations; bad rows set aside or the pipeline stopped
//   tune       a search for training parameters, every trial a child run
//   train      features fitted and a model trained on a time window: a bundle
//   evaluate   the bundle, a naive model and the champion on the same later rows
//   register   a model version, a gate, and the alias that follows from it
//   deploy     a deployment, what is watched about it, and what makes it retrain
//   collect    logged predictions whose labels have arrived -> a dataset version
//   StepKinds kinds;  add_step_kinds(kinds, services);
// Kinds keep no state of a run; what Services points to outlives them. Thread-safe.
#pragma once

#include "audit/audit.h"
#include "base/clock.h"
#include "base/ids.h"
#include "blob/store.h"
#include "data/datasets.h"
#include "features/view_store.h"
#include "feedback/labels.h"
#include "feedback/loop.h"
#include "governance/lineage.h"
#include "monitoring/monitor.h"
#include "pipeline/step.h"
#include "registry/registry.h"
#include "serving/deployments.h"
#include "tracking/tracking.h"

namespace slipway::steps {

struct Services {
  blob::Store& blobs;
  data::DatasetStore& datasets;
  tracking::Tracking& tracking;
  registry::Registry& registry;
  serving::DeploymentStore& deployments;
  monitoring::Monitor& monitor;
  feedback::LabelStore& labels;
  feedback::LoopStore& loops;
  governance::Lineage& lineage;
  const Clock& clock;
  IdSource& ids;
  monitoring::Traffic& traffic;
  features::ViewStore& views;
  std::shared_ptr<features::LiveViews> live_views;
};

void add_step_kinds(pipeline::StepKinds& kinds, const Services& services);

}  // namespace slipway::steps
