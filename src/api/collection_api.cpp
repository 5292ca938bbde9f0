#include "api/collection_api.h"

#include "api/slipway_api.h"
#include "base/json.h"

namespace slipway::api {
namespace {

// Others may be uploading through this server right now.
constexpr Duration kShortestGrace = std::chrono::hours{1};

Result<Duration> duration_of(const Json& value, const std::string& key) {
  auto duration = value.is_string() ? parse_duration(value.get<std::string>())
                                    : Result<Duration>(invalid_argument("wanted a text"));
  if (!duration) return duration.error().at("'" + key + "' has to be a duration such as \"30d\"");
  return duration;
}

Result<governance::CollectOptions> read_options(const std::string& body) {
  governance::CollectOptions options;
  if (body.empty()) return options;
  auto json = parse_json(body, "the body");
  if (!json) return json.error();
  if (!json->is_object()) return invalid_argument("the body has to be a JSON object");
  for (const auto& [key, value] : json->items()) {
    if (key == "dry_run" && value.is_boolean()) {
      options.dry_run = value.get<bool>();
    } else if (key == "older_than" || key == "grace") {
      auto duration = duration_of(value, key);
      if (!duration) return duration.error();
      (key == "grace" ? options.grace : options.keep_deleted) = *duration;
    } else if (key == "experiments" && value.is_array()) {
      for (const Json& name : value) {
        if (!name.is_string()) return invalid_argument("'experiments' has to be a list of names");
        options.experiments.push_back(name.get<std::string>());
      }
    } else {
      return invalid_argument("'" + key +
                              "' is not known here, or has the wrong type: wanted dry_run (true or "
                              "false), older_than, grace (durations), experiments (names)");
    }
  }
  if (options.grace < kShortestGrace)
    return invalid_argument("'grace' has to be an hour at least while the server runs");
  return options;
}

}  // namespace

void add_collection_routes(server::Router& router, governance::Collector& collector) {
  router.add("POST", "/api/v1/gc", server::Access::manage, slipway_error,
             [&collector](const Context& ctx, const server::Request& request) {
               auto options = read_options(request.body);
               if (!options) return slipway_error(options.error());
               auto report = collector.collect(ctx, *options);
               if (!report) return slipway_error(report.error());
               return answer(200, report->to_json());
             });
}

}  // namespace slipway::api
