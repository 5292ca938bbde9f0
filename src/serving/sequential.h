// Evidence that a candidate does worse than what serves, which may be looked at after every request
// and acted on at once: however often one looks, the chance that it ever exceeds 1/alpha although
// the candidate is no worse is alpha at most (Ville's inequality). Testing by betting, after
// I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B
// 86(1), 2024.
//   Evidence errors;
//   errors.add(true, 1, share);            // a bad event of the candidate
//   if (errors.log_value() >= std::log(1 / alpha)) …            // worse, with confidence 1 - alpha
// A request goes to the candidate by chance, with weight w. Then, of all that goes wrong, the
// candidate has at most the share s = w r / (w r + 1 - w) if it goes wrong at most r times as often
// as the control. Each bad event x in (0, 1] bets on being the candidate's:
//   factor = 1 + (f / s) x (a - s),        a = 1 when it was the candidate's, else 0
// whose expectation is 1 at most under that hypothesis; the evidence is the mean of the products
// over several fractions f of the wealth that is bet. Weights may change between events. Values.
#pragma once
#include <array>
#include <cstdint>

#include "base/json.h"
#include "base/result.h"

namespace slipway::serving {

// The candidate's share of bad events when it is exactly `tolerance` times as bad. 0 < weight < 1.
double null_share(double weight, double tolerance);

class Evidence {
 public:
  // badness: 0 (nothing happened: no evidence) to 1.
  void add(bool candidate, double badness, double share);
  // Whole events, in any order.
  void add_many(std::int64_t of_candidate, std::int64_t of_control, double share);
  double log_value() const;  // natural logarithm; 0 before any event

  Json to_json() const;
  static Result<Evidence> from_json(const Json& json);

 private:
  static constexpr std::array<double, 9> kFractions = {0.01, 0.02, 0.05, 0.1, 0.2,
                                                       0.3,  0.5,  0.7,  0.9};
  std::array<double, kFractions.size()> log_wealth_{};
};

}  // namespace slipway::serving
