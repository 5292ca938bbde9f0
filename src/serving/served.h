// What a deployment serves at one moment, as a value: which versions answer, and the columns a
// request may carry. A request holds on to the Served it began with, so an alias that moves
// meanwhile changes nothing for it, and a model that no request uses any more goes away by itself.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "data/table.h"
#include "serving/deployments.h"
#include "serving/model_source.h"
#include "serving/prediction_log.h"

namespace slipway::serving {

// Upper bounds of the latency histogram, in microseconds; one more bucket holds what is above.
inline constexpr std::array<std::int64_t, 14> kLatencyBounds = {
    25,    50,     100,    250,    500,     1'000,   2'500,
    5'000, 10'000, 25'000, 50'000, 100'000, 250'000, 1'000'000};

// Counters of one version behind one deployment. Relaxed atomics: each is right, two may be of
// different moments.
struct VersionStats {
  void record(std::int64_t row_count, std::int64_t latency_us, Time now);
  std::atomic<std::int64_t> requests{0};  // answered
  std::atomic<std::int64_t> rows{0};
  std::atomic<std::int64_t> failures{0};
  std::atomic<std::int64_t> latency_sum_us{0};
  std::atomic<std::int64_t> last_us{0};  // wall clock of the last answer
  std::array<std::atomic<std::int64_t>, kLatencyBounds.size() + 1> buckets{};
};

struct DeploymentStats {
  std::atomic<std::int64_t> in_flight{0};
  std::array<std::atomic<std::int64_t>, std::size(kAllCodes)> errors{};  // by Code
  std::atomic<std::int64_t> shadows_dropped{0};
};

// A model in memory behind one alias of a deployment.
struct Target {
  std::string alias;
  VersionRef version;
  std::shared_ptr<const Scorer> scorer;
  std::shared_ptr<VersionStats> stats;
  double weight = 0;                     // of a canary: its share of all requests
  std::shared_ptr<VersionStats> routed;  // of requests whose version chance alone decided
};

class Served;

// One request's rows on their way through: filled by the caller, then given to ModelHost. Reused
// through Served::begin.
struct Inference {
  explicit Inference(const data::Schema& schema) : rows(schema) {}
  std::shared_ptr<const Served> served;
  const Target* target = nullptr;  // of `served`
  data::BatchBuilder rows;         // of served->columns()
  std::vector<std::string> ids;    // of the predictions, one per row
  bool new_ids = true;             // made by the server
  bool routed = false;             // target was chosen by Served::route, by chance alone
  std::string caller;              // who asks
  std::string trace;               // W3C traceparent, or empty
  Time time;                       // the prediction's
  SteadyTime started;
  // Set by ModelHost::score.
  data::Batch batch;
  std::vector<double> scores;         // NaN: none
  std::vector<double> values;         // [rows, width] of a scorer with more than one number per row
  bool explain = false;               // set before score(): contributions are wanted, too
  std::vector<double> contributions;  // [rows, width, features + 1]
  std::int64_t latency_us = 0;
};

class Served : public std::enable_shared_from_this<Served> {
 public:
  // problem: why there is no primary, or why it is not the one the alias points at.
  Served(Deployment deployment, std::optional<Target> primary, std::vector<Target> canaries,
         std::vector<Target> shadows, std::vector<std::string> problems,
         std::shared_ptr<DeploymentStats> stats);

  const Deployment& deployment() const { return deployment_; }
  const Target* primary() const { return primary_ ? &*primary_ : nullptr; }
  const std::vector<Target>& canaries() const { return canaries_; }
  const std::vector<Target>& shadows() const { return shadows_; }
  // Who answers a request: a canary with the chance of its weight, else the primary (null: there
  // is none). key: the value of the deployment's sticky header; equal keys get equal targets. With
  // an empty key every request draws anew.
  const Target* route(std::string_view key) const;
  // The primary or canary of an alias, for requests that name who is to answer.
  const Target* arm(std::string_view alias) const;
  // The primary's version, a canary's or a shadow's; null when it is not loaded.
  const Target* find(std::int64_t version) const;
  // What is not as declared: "alias 'challenger' of model 'flights' does not exist yet".
  const std::vector<std::string>& problems() const { return problems_; }
  DeploymentStats& stats() const { return *stats_; }

  // What a request may carry: the primary's inputs, then those only shadows have. A target needs
  // its own.
  const data::Schema& columns() const { return columns_; }
  std::optional<std::size_t> column(std::string_view name) const;
  // Indices into columns() that a request to this target must carry.
  const std::vector<std::size_t>& required(const Target& target) const;

  std::shared_ptr<Inference> begin() const;

 private:
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  struct Pool {
    std::mutex mutex;
    std::vector<std::unique_ptr<Inference>> free;
  };
  Deployment deployment_;
  std::optional<Target> primary_;
  std::vector<Target> canaries_;
  std::vector<Target> shadows_;
  std::vector<std::string> problems_;
  std::shared_ptr<DeploymentStats> stats_;
  data::Schema columns_;
  std::unordered_map<std::string, std::size_t, TextHash, std::equal_to<>> by_name_;
  std::vector<std::vector<std::size_t>> required_;  // of the primary, each canary, each shadow
  std::uint64_t salt_;
  mutable std::atomic<std::uint64_t> draws_{0};
  std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();
};

}  // namespace slipway::serving
