// A model with everything it needs to be served and explained, as a folder that MLflow can read
// too:
//   MLmodel                  YAML: flavors, signature, identity
//   model.ubj | model.json   the trained model
//   features.json            the fitted feature pipeline: requests carry raw columns
//   certificate.json         proof against skew between training and serving, see below
//   input_example.json       a few raw rows
//   reference_profile.json   the training data's profile, for drift
//   metrics.json, provenance.json
// The certificate holds up to 64 training rows, the matrix they became and the scores they got, bit
// for bit. load() replays them, as a batch and row by row, and refuses the bundle when any bit
// differs: another compiler, math library or program version cannot change a prediction unseen.
//   auto written = write_bundle(folder, parts);              // atomic: the folder is whole or not
//   there auto bundle = Bundle::load(folder); auto done = bundle->predict(batch, scores);
// A loaded bundle is immutable and thread-safe; predict() allocates nothing after a thread's first
// calls for batches of up to kRowsPerTask rows, and spreads larger ones over threads with the same
// bits.
#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "data/table.h"
#include "features/pipeline.h"
#include "models/model.h"

namespace slipway::models {

struct BundleParts {
  std::string name;        // of the model
  std::string model_uuid;  // 32 hexadecimal characters
  std::string run_id;      // of the run that trained it; may be empty
  Time created{};
  std::string target;  // the label's column
  std::string kind = "xgboost";
  std::string model;  // bytes, as training gave them
  features::Pipeline pipeline;
  // Training rows; up to 64, evenly spread, become the certificate, and the first five the input
  // example.
  const data::Batch* sample = nullptr;
  Json reference_profile;
  Json metrics;
  Json provenance;
};

// already_exists when the folder does; internal when the walk over the trees and the XGBoost
// library disagree.
Result<void> write_bundle(const std::filesystem::path& folder, const BundleParts& parts);

class Bundle {
 public:
  // data_loss names the file, feature or row that is not as it was written.
  // Features that look up in views find them in `views`, then and at each prediction.
  static Result<Bundle> load(const std::filesystem::path& folder,
                             std::shared_ptr<const features::ViewSource> views = nullptr);

  static constexpr std::size_t kRowsPerTask = 1024;
  // scores [rows]: P(class 1), or the value of a regression.
  Result<void> predict(const data::Batch& batch, std::span<double> scores, int threads = 0) const;

  const data::Schema& inputs() const { return pipeline_.inputs(); }
  const features::Pipeline& pipeline() const { return pipeline_; }
  const Model& model() const { return *model_; }
  bool is_classifier() const { return model_->is_classifier(); }
  // The slipway flavor of MLmodel, with "model_uuid", "run_id" and "utc_time_created": {"name",
  // "kind", "target", …}.
  const Json& metadata() const { return metadata_; }
  const Json& reference_profile() const { return reference_profile_; }
  const Json& metrics() const { return metrics_; }
  const Json& provenance() const { return provenance_; }

 private:
  Bundle(features::Pipeline pipeline, ModelPtr model)
      : pipeline_(std::move(pipeline)), model_(std::move(model)) {}
  features::Pipeline pipeline_;
  ModelPtr model_;
  Json metadata_;
  Json reference_profile_;
  Json metrics_;
  Json provenance_;
};

}  // namespace slipway::models
