// What `tune` and `train` share: the declaration of what is learnt from what, and the rows as
// matrices.
#pragma once
#include "data/knowledge.h"
#include "features/matrix.h"
#include "features/pipeline.h"
#include "steps/common_internal.h"
#include "training/trainer.h"

namespace slipway::steps {

// target, rows, features, what is known when, the trainer, and the share of the newest rows held
// out to validate on.
struct LearningSpec {
  RowsSpec rows;
  std::string target;
  features::PipelineSpec features;
  data::Knowledge known;
  training::TrainerSpec trainer;
  double validation_share = 0.2;
  static LearningSpec read(SpecReader& reader);
};

// The rows in memory, split in time: the first part to learn from, the last to validate on.
class LearningRows {
 public:
  static Result<LearningRows> load(const Context& ctx, const Services& services,
                                   const LearningSpec& spec, const std::filesystem::path& work_dir);
  data::Batch all() const { return columns_.batch(); }
  data::Batch first() const { return columns_.batch().slice(0, split_); }
  data::Batch last() const { return columns_.batch().slice(split_, columns_.rows() - split_); }
  std::span<const double> labels() const { return labels_; }
  std::span<const double> first_labels() const {
    return std::span(labels_).subspan(0, static_cast<std::size_t>(split_));
  }
  std::span<const double> last_labels() const {
    return std::span(labels_).subspan(static_cast<std::size_t>(split_));
  }
  const data::DatasetRef& dataset() const { return ref_; }
  // What the features look up in, each as of the dataset version it names, or the newest.
  const features::ViewSource& views() const { return *views_; }

 private:
  LearningRows(data::Columns columns, std::vector<double> labels, std::int64_t split,
               data::DatasetRef ref, std::unique_ptr<const features::ViewSource> views)
      : columns_(std::move(columns)),
        labels_(std::move(labels)),
        split_(split),
        ref_(std::move(ref)),
        views_(std::move(views)) {}
  data::Columns columns_;
  std::vector<double> labels_;
  std::int64_t split_;
  data::DatasetRef ref_;
  std::unique_ptr<const features::ViewSource> views_;
};

// The trainer as declared, with `overrides` (a mapping, or null) laid over it, and seeded by the
// step where it names no seed. `place` is told of what is wrong.
Result<training::TrainerSpec> trainer_of(const LearningSpec& spec, const Json& overrides,
                                         std::uint64_t seed, const std::string& place);

// A pipeline fitted on rows, and the matrix to train on.
struct FittedRows {
  features::Pipeline pipeline;
  features::Matrix matrix;
};
Result<FittedRows> fit_rows(const Context& ctx, const LearningSpec& spec, const data::Batch& batch,
                            std::span<const double> labels, const features::ViewSource& views,
                            std::uint64_t seed);

// A fitted pipeline with both parts as matrices.
struct Prepared {
  features::Pipeline pipeline;
  features::Matrix train;
  features::Matrix validation;
};
Result<Prepared> prepare(const Context& ctx, const LearningSpec& spec, const LearningRows& rows,
                         std::uint64_t seed);
Result<features::Matrix> to_matrix(const features::Pipeline& pipeline, const data::Batch& batch,
                                   std::span<const double> labels);

}  // namespace slipway::steps
