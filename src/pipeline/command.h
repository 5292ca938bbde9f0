// The `command` step: any program, with its inputs, outputs and parameters handed over by
// environment variables.
//   train:
//     command: python train.py            # by /bin/sh -c; a list is run as it stands
//     inputs: {data: data/x.csv, model: ${steps.fit.model}}   # a file or folder, or an output of
//     another command outputs: [model, report.json]       # what it writes to
//     $SLIPWAY_OUTPUT_MODEL, $SLIPWAY_OUTPUT_REPORT_JSON env: {TOKEN: ${env.TOKEN}} workdir:
//     scripts                    # default: the pipeline file's folder
// The program also gets SLIPWAY_STEP, SLIPWAY_RUN_ID, SLIPWAY_SEED, SLIPWAY_PARAM_<NAME>,
// SLIPWAY_INPUT_<NAME> (a path) and what RunOptions::environment holds (MLFLOW_TRACKING_URI). Its
// stdout and stderr are the step's log. When it ends well, each output (a file or a folder) goes
// into the blob store by content. Anything but exit 0 fails the step, with the last lines it wrote.
// On a timeout or a stop its whole process group is terminated, and killed when it lingers; it is
// also killed when slipway itself dies. Name under `inputs` what it reads: the contents
// decide the cache, as do those of scripts that the command's text names (`python train.py`).
#pragma once
#include <memory>

#include "blob/store.h"
#include "pipeline/step.h"

namespace slipway::pipeline {

struct CommandOptions {
  Duration grace = std::chrono::seconds{5};  // between TERM and KILL
};

// blobs outlives it.
std::unique_ptr<StepKind> make_command_kind(blob::Store& blobs, const CommandOptions& options = {});

}  // namespace slipway::pipeline
