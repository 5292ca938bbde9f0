// GET /metrics in the Prometheus text format. Parts of the program keep plain counters of their
// own; a source reads them when the page is asked for, so counting costs nothing but the counter.
//   Metrics metrics;
//   metrics.add([&](MetricWriter& out) { out.gauge("slipway_jobs_queued_count", "Jobs that wait.",
//   {}, queue.size()); }); add_metrics_routes(router, metrics);   // metrics outlives the server
// Names are slipway_<folder>_<what>_<unit>, "_total" on counters only; label values come from small
// closed sets.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "server/http.h"
#include "server/server.h"
#include "serving/model_cache.h"
#include "serving/model_host.h"

namespace slipway::api {

using Labels = std::vector<std::pair<std::string, std::string>>;

// One page under way. Calls with the same name make one family; help and type are the first call's.
class MetricWriter {
 public:
  MetricWriter();
  ~MetricWriter();
  void counter(const std::string& name, const std::string& help, const Labels& labels,
               double value);
  void gauge(const std::string& name, const std::string& help, const Labels& labels, double value);
  // counts [bounds + 1]: how many fell into each bucket, the last one above all bounds; not
  // cumulative.
  void histogram(const std::string& name, const std::string& help, const Labels& labels,
                 std::span<const double> bounds, std::span<const std::int64_t> counts, double sum);
  std::string text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Metrics {
 public:
  // Called on a worker thread while a page is made; may block shortly. Add before the server
  // starts.
  using Source = std::function<void(MetricWriter&)>;
  void add(Source source) { sources_.push_back(std::move(source)); }
  std::string page() const;

 private:
  std::vector<Source> sources_;
};

void add_metrics_routes(server::Router& router, const Metrics& metrics);

// What the lower folders count. `stats` is asked each time.
void add_process_metrics(Metrics& metrics);
void add_server_metrics(Metrics& metrics, std::function<server::ServerStats()> stats);
void add_model_memory_metrics(Metrics& metrics, const serving::ModelCache& models);
void add_serving_metrics(Metrics& metrics, const serving::ModelHost& host);

}  // namespace slipway::api
