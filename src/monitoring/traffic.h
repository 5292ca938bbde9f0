// The monitor's ends to the rest of the program: traffic from the prediction log, webhooks by HTTP.
// Thread-safe.
#pragma once
#include "monitoring/monitor.h"
#include "net/http_client.h"
#include "serving/prediction_log.h"

namespace slipway::monitoring {

class PredictionTraffic final : public Traffic {
 public:
  explicit PredictionTraffic(const serving::PredictionLog& log) : log_(log) {}  // outlives this
  Result<data::TablePtr> read(const std::string& deployment, Time from, Time to,
                              bool shadow) override;
  // Reads the times of all rows: asked once per deployment, before its first window.
  Result<std::optional<Time>> first(const std::string& deployment) override;
  std::optional<Time> watermark(const std::string& deployment) override;

 private:
  const serving::PredictionLog& log_;
};

class HttpWebhooks final : public Webhooks {
 public:
  explicit HttpWebhooks(const net::HttpClient& http) : http_(http) {}  // outlives this
  // POST with the header x-slipway-delivery. Any status but 2xx is unavailable.
  Result<void> post(const Context& ctx, const std::string& url, const std::string& delivery,
                    const std::string& body) override;

 private:
  const net::HttpClient& http_;
};

}  // namespace slipway::monitoring
