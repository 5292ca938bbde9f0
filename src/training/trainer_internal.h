// The learners behind train(); their inputs are checked already.
#pragma once
#include "training/trainer.h"

namespace slipway::training {

Result<Trained> train_xgboost(const Context& ctx, const TrainerSpec& spec,
                              const features::Matrix& train, const features::Matrix* validation,
                              const OnRound& on_round);
Result<Trained> train_logistic(const Context& ctx, const TrainerSpec& spec,
                               const features::Matrix& train, const features::Matrix* validation,
                               const OnRound& on_round);
// The name of a feature, or "f12".
std::string feature_name(const features::Matrix& matrix, std::size_t column);

}  // namespace slipway::training
