#include "api/metrics_api.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/status_map.h"
#include "base/json.h"

namespace slipway::api {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricType;

ClientMetric labelled(const Labels& labels) {
  ClientMetric metric;
  for (const auto& [name, value] : labels) metric.label.push_back({name, value});
  return metric;
}

server::Response metrics_error(const Error& error) {
  return server::plain_text(status_of(error.code).http, error.message + "\n");
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

struct MetricWriter::Impl {
  std::vector<prometheus::MetricFamily> families;
  std::unordered_map<std::string, std::size_t> places;

  void put(const std::string& name, const std::string& help, MetricType type, ClientMetric metric) {
    const auto [place, is_new] = places.emplace(name, families.size());
    if (is_new) families.push_back({name, help, type, {}});
    families[place->second].metric.push_back(std::move(metric));
  }
};

MetricWriter::MetricWriter() : impl_(std::make_unique<Impl>()) {}
MetricWriter::~MetricWriter() = default;

void MetricWriter::counter(const std::string& name, const std::string& help, const Labels& labels,
                           double value) {
  ClientMetric metric = labelled(labels);
  metric.counter.value = value;
  impl_->put(name, help, MetricType::Counter, std::move(metric));
}

void MetricWriter::gauge(const std::string& name, const std::string& help, const Labels& labels,
                         double value) {
  ClientMetric metric = labelled(labels);
  metric.gauge.value = value;
  impl_->put(name, help, MetricType::Gauge, std::move(metric));
}

void MetricWriter::histogram(const std::string& name, const std::string& help, const Labels& labels,
                             std::span<const double> bounds, std::span<const std::int64_t> counts,
                             double sum) {
  ClientMetric metric = labelled(labels);
  std::uint64_t cumulative = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    cumulative += static_cast<std::uint64_t>(counts[i]);
    const double bound = i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity();
    metric.histogram.bucket.push_back({cumulative, bound});
  }
  metric.histogram.sample_count = cumulative;
  metric.histogram.sample_sum = sum;
  impl_->put(name, help, MetricType::Histogram, std::move(metric));
}

std::string MetricWriter::text() const {
  return prometheus::TextSerializer().Serialize(impl_->families);
}

std::string Metrics::page() const {
  MetricWriter writer;
  for (const auto& source : sources_) source(writer);
  return writer.text();
}

void add_metrics_routes(server::Router& router, const Metrics& metrics) {
  router.add("GET", "/metrics", server::Access::read, &metrics_error,
             [&metrics](const Context&, const server::Request&) {
               return server::Response{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                                       .body = metrics.page()};
             });
}

// Under the names that every Prometheus client library uses.
void add_process_metrics(Metrics& metrics) {
  metrics.add([](MetricWriter& out) {
    std::ifstream statm("/proc/self/statm");
    std::int64_t pages = 0;
    std::int64_t resident = 0;
    if (statm >> pages >> resident) {
      out.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", {},
                static_cast<double>(resident * ::sysconf(_SC_PAGESIZE)));
    }
    rusage usage{};
    if (::getrusage(RUSAGE_SELF, &usage) == 0) {
      out.counter("process_cpu_seconds_total", "User and system CPU time spent in seconds.", {},
                  seconds(usage.ru_utime) + seconds(usage.ru_stime));
    }
    std::error_code error;
    const std::filesystem::directory_iterator descriptors("/proc/self/fd", error);
    if (!error) {
      out.gauge("process_open_fds", "Number of open file descriptors.", {},
                static_cast<double>(std::distance(begin(descriptors), end(descriptors))));
    }
  });
}

void add_server_metrics(Metrics& metrics, std::function<server::ServerStats()> stats) {
  metrics.add([stats = std::move(stats)](MetricWriter& out) {
    const server::ServerStats now = stats();
    out.gauge("slipway_server_open_connections", "Open connections.", {},
              static_cast<double>(now.connections));
    out.counter("slipway_server_connections_total", "Connections taken.", {},
                static_cast<double>(now.connections_total));
    out.gauge("slipway_server_in_flight_requests",
              "Requests given to a handler and not answered yet.", {},
              static_cast<double>(now.in_flight));
    out.counter("slipway_server_requests_total", "Requests read.", {},
                static_cast<double>(now.requests_total));
    for (std::size_t hundreds = 1; hundreds < std::size(now.responses); ++hundreds) {
      out.counter("slipway_server_responses_total", "Answers by class of their status.",
                  {{"status", fmt::format("{}xx", hundreds)}},
                  static_cast<double>(now.responses[hundreds]));
    }
  });
}

void add_model_memory_metrics(Metrics& metrics, const serving::ModelCache& models) {
  metrics.add([&models](MetricWriter& out) {
    const serving::ModelCache::Figures figures = models.figures();
    out.counter("slipway_serving_model_loads_total", "Models loaded under the memory budget.", {},
                static_cast<double>(figures.loads));
    out.counter("slipway_serving_model_load_failures_total", "Models that could not be loaded.", {},
                static_cast<double>(figures.load_failures));
    out.counter("slipway_serving_model_evictions_total",
                "Models let go to stay within the memory budget.", {},
                static_cast<double>(figures.evictions));
    out.gauge("slipway_serving_models_loaded_bytes", "Memory of the models that are loaded.", {},
              static_cast<double>(figures.loaded_bytes));
    for (const auto& model : figures.models) {
      out.gauge("slipway_serving_model_bytes", "Memory of a model when it was last loaded.",
                {{"bundle", model.digest.substr(0, 12)}}, static_cast<double>(model.bytes));
      out.gauge("slipway_serving_model_loaded", "1 when the model is in memory.",
                {{"bundle", model.digest.substr(0, 12)}}, model.loaded ? 1 : 0);
    }
  });
}

namespace {

// The names that Triton's dashboards and exporters know
// (https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md). Nothing
// is told apart that is not measured apart: all of a request is compute_infer.
void add_triton_names(MetricWriter& out, const serving::ModelHost& host) {
  std::map<std::string, std::int64_t> in_flight;
  for (const auto& [deployment, stats] : host.deployment_stats())
    in_flight[deployment] = stats->in_flight.load();
  for (const auto& [deployment, version, role, stats] : host.version_stats()) {
    if (role != serving::Role::primary) continue;
    const Labels labels = {{"model", deployment}, {"version", std::to_string(version)}};
    const auto requests = static_cast<double>(stats->requests.load());
    out.counter("nv_inference_request_success", "Number of successful inference requests.", labels,
                requests);
    out.counter("nv_inference_request_failure", "Number of failed inference requests.", labels,
                static_cast<double>(stats->failures.load()));
    out.counter("nv_inference_count", "Number of inferences performed (rows).", labels,
                static_cast<double>(stats->rows.load()));
    out.counter("nv_inference_exec_count", "Number of model executions.", labels, requests);
    const auto micros = static_cast<double>(stats->latency_sum_us.load());
    out.counter("nv_inference_request_duration_us", "Cumulative request duration in microseconds.",
                labels, micros);
    out.counter("nv_inference_compute_infer_duration_us",
                "Cumulative inference duration in microseconds.", labels, micros);
    out.gauge("nv_inference_pending_request_count", "Requests of the model under way.", labels,
              static_cast<double>(in_flight[deployment]));
  }
}

}  // namespace

void add_serving_metrics(Metrics& metrics, const serving::ModelHost& host) {
  metrics.add([&host](MetricWriter& out) {
    static const std::vector<double> bounds = [] {
      std::vector<double> list;
      for (const std::int64_t micros : serving::kLatencyBounds)
        list.push_back(static_cast<double>(micros) / 1e6);
      return list;
    }();
    for (const auto& [deployment, version, role, stats] : host.version_stats()) {
      const Labels labels = {{"deployment", deployment},
                             {"version", std::to_string(version)},
                             {"role", std::string(to_string(role))}};
      out.counter("slipway_serving_requests_total", "Requests a version answered.", labels,
                  static_cast<double>(stats->requests.load()));
      out.counter("slipway_serving_rows_total", "Rows a version scored.", labels,
                  static_cast<double>(stats->rows.load()));
      out.counter("slipway_serving_failures_total", "Requests a version failed on.", labels,
                  static_cast<double>(stats->failures.load()));
      std::vector<std::int64_t> counts;
      for (const auto& bucket : stats->buckets) counts.push_back(bucket.load());
      out.histogram("slipway_serving_latency_seconds",
                    "From the request's arrival to its scores, without the log and the way back.",
                    labels, bounds, counts,
                    static_cast<double>(stats->latency_sum_us.load()) / 1e6);
    }
    for (const auto& [deployment, stats] : host.deployment_stats()) {
      const Labels labels = {{"deployment", deployment}};
      out.gauge("slipway_serving_in_flight_requests", "Infer requests not answered yet.", labels,
                static_cast<double>(stats->in_flight.load()));
      out.counter("slipway_serving_shadows_dropped_total",
                  "Requests whose shadows were left out, as they did not keep up.", labels,
                  static_cast<double>(stats->shadows_dropped.load()));
      for (const Code code : kAllCodes) {
        const std::int64_t count = stats->errors[static_cast<std::size_t>(code)].load();
        if (count == 0) continue;
        out.counter("slipway_serving_errors_total", "Infer requests refused or failed.",
                    {{"deployment", deployment}, {"code", std::string(to_string(code))}},
                    static_cast<double>(count));
      }
    }
    add_triton_names(out, host);
    for (const auto& served : host.all()) {
      out.gauge("slipway_serving_weight_ratio", "Share of the requests that a version answers.",
                {{"deployment", served->deployment().name}, {"alias", served->deployment().alias}},
                1 - std::accumulate(served->canaries().begin(), served->canaries().end(), 0.0,
                                    [](double sum, const serving::Target& canary) {
                                      return sum + canary.weight;
                                    }));
      for (const serving::Target& canary : served->canaries()) {
        out.gauge("slipway_serving_weight_ratio", "Share of the requests that a version answers.",
                  {{"deployment", served->deployment().name}, {"alias", canary.alias}},
                  canary.weight);
      }
      out.gauge("slipway_serving_ready", "1 when the deployment has a version that answers.",
                {{"deployment", served->deployment().name}}, served->primary() != nullptr ? 1 : 0);
    }
    const serving::PredictionLogStats log = host.log().stats();
    out.counter("slipway_serving_logged_rows_total", "Rows in the prediction log since the start.",
                {}, static_cast<double>(log.appended_rows));
    out.counter("slipway_serving_log_writes_total",
                "Group writes of the prediction log: rows per write is how well they share.", {},
                static_cast<double>(log.groups));
    out.counter("slipway_serving_log_dropped_rows_total",
                "Rows of deployments with log: queued that the disk did not take.", {},
                static_cast<double>(log.dropped_rows));
    out.counter("slipway_serving_log_expired_rows_total",
                "Rows removed as their deployments keep them no longer.", {},
                static_cast<double>(log.expired_rows));
    out.counter("slipway_serving_log_seal_failures_total",
                "Segments of the prediction log that could not be sealed.", {},
                static_cast<double>(log.seal_failures));
  });
}

}  // namespace slipway::api
