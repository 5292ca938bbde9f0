#include "steps/steps.h"

#include "pipeline/command.h"
#include "steps/common_internal.h"

namespace slipway::steps {

void add_step_kinds(pipeline::StepKinds& kinds, const Services& services) {
  kinds.add(pipeline::make_command_kind(services.blobs));
  kinds.add(make_ingest(services));
  kinds.add(make_transform(services));
  kinds.add(make_validate(services));
  kinds.add(make_tune(services));
  kinds.add(make_train(services));
  kinds.add(make_evaluate(services));
  kinds.add(make_register(services));
  kinds.add(make_deploy(services));
  kinds.add(make_collect(services));
}

}  // namespace slipway::steps
