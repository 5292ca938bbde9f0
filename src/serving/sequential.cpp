#include "serving/sequential.h"

#include <algorithm>
#include <cmath>

namespace slipway::serving {

double null_share(double weight, double tolerance) {
  return weight * tolerance / (weight * tolerance + 1 - weight);
}

void Evidence::add(bool candidate, double badness, double share) {
  for (std::size_t i = 0; i < kFractions.size(); ++i) {
    const double bet = kFractions[i] / share;
    log_wealth_[i] += std::log1p(bet * badness * ((candidate ? 1 : 0) - share));
  }
}

void Evidence::add_many(std::int64_t of_candidate, std::int64_t of_control, double share) {
  for (std::size_t i = 0; i < kFractions.size(); ++i) {
    const double won = std::log1p(kFractions[i] / share * (1 - share));
    const double lost = std::log1p(-kFractions[i]);
    log_wealth_[i] +=
        static_cast<double>(of_candidate) * won + static_cast<double>(of_control) * lost;
  }
}

double Evidence::log_value() const {
  const double largest = *std::ranges::max_element(log_wealth_);
  double sum = 0;
  for (const double wealth : log_wealth_) sum += std::exp(wealth - largest);
  return largest + std::log(sum / static_cast<double>(log_wealth_.size()));
}

Json Evidence::to_json() const { return log_wealth_; }

Result<Evidence> Evidence::from_json(const Json& json) {
  Evidence evidence;
  const bool fits = json.is_array() && json.size() == kFractions.size() &&
                    std::ranges::all_of(json, [](const Json& one) { return one.is_number(); });
  if (!fits) return data_loss("stored evidence of a rollout is no list of 9 numbers");
  evidence.log_wealth_ = json.get<std::array<double, kFractions.size()>>();
  return evidence;
}

}  // namespace slipway::serving
