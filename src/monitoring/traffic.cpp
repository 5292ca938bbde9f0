#include "monitoring/traffic.h"

namespace slipway::monitoring {

Result<data::TablePtr> PredictionTraffic::read(const std::string& deployment, Time from, Time to,
                                               bool shadow) {
  serving::PredictionLog::ReadOptions options;
  options.role = shadow ? serving::Role::shadow : serving::Role::primary;
  if (shadow) options.columns = {"id", "version", "alias", "score"};
  auto table = log_.read(deployment, from, to, options);
  if (!table && table.error().code == Code::not_found) return data::TablePtr();
  return table;
}

Result<std::optional<Time>> PredictionTraffic::first(const std::string& deployment) {
  const auto last = log_.watermark(deployment);
  if (!last) return std::optional<Time>();
  serving::PredictionLog::ReadOptions options;
  options.role = serving::Role::primary;
  options.columns = {"time"};
  const auto table = log_.read(deployment, from_micros(0), *last + Duration(1), options);
  if (!table) return table.error();
  const auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  const auto time = columns->column("time");
  if (!time) return time.error();
  std::optional<Time> first;
  for (std::int64_t row = 0; row < time->rows; ++row) {
    const Time at = from_micros(time->integer(row));
    if (!first || at < *first) first = at;
  }
  return first;
}

std::optional<Time> PredictionTraffic::watermark(const std::string& deployment) {
  return log_.watermark(deployment);
}

Result<void> HttpWebhooks::post(const Context& ctx, const std::string& url,
                                const std::string& delivery, const std::string& body) {
  net::HttpRequest request{
      .method = "POST", .url = url, .body = body, .timeout = std::chrono::seconds(10)};
  request.headers = {{"content-type", "application/json"}, {"x-slipway-delivery", delivery}};
  request.max_response_bytes = 64 * 1024;
  const auto answer = http_.send(ctx, request);
  if (!answer) return answer.error();
  if (answer->status / 100 != 2)
    return unavailable(fmt::format("the webhook answered {}", answer->status));
  return {};
}

}  // namespace slipway::monitoring
