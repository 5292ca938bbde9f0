#include "cli/routes.h"

#include "api/collection_api.h"
#include "api/deployments_api.h"
#include "api/inference_api.h"
#include "api/mlflow_api.h"
#include "api/pipelines_api.h"
#include "api/registry_api.h"
#include "api/slipway_api.h"
#include "base/log.h"
#include "cli/collection_internal.h"
#include "cli/import_internal.h"

namespace slipway::cli {

Routes::Routes(Home& home, serving::ModelHost& host, const serving::ModelSource& source,
               CatchUp catch_up)
    : multipart_(home.blobs(), home.clock(), home.ids()),
      links_(home.clock(), home.ids()),
      collector_(collector_of(home)),
      imports_(
          home.queue(),
          {home.db(), home.blobs(), home.audit(), home.tracking(), home.registry(), home.clock()},
          {.user = environment_value("MLFLOW_TRACKING_USERNAME"),
           .password = environment_value("MLFLOW_TRACKING_PASSWORD"),
           .token = environment_value("MLFLOW_TRACKING_TOKEN")}) {
  api::add_inference_routes(router_, host, home.clock(), home.ids(), {});
  api::add_mlflow_routes(router_, home.tracking(), home.registry(), home.blobs(),
                         {.webhooks = &home.webhooks(),
                          .traces = &home.traces(),
                          .multipart = &multipart_,
                          .links = &links_});
  api::add_slipway_routes(
      router_, {home.clock(), home.audit(), home.deployments(), home.predictions(), home.monitor(),
                home.labels(), home.loop(), std::move(catch_up)});
  api::add_deployment_routes(router_, {home.deployments(), home.rollouts(), home.registry(),
                                       home.predictions(), source, home.subject_keys()});
  api::add_registry_routes(router_, home.registry(), home.webhooks());
  api::add_pipeline_routes(router_, {home.queue(), home.engine()});
  api::add_collection_routes(router_, collector_);
  imports_.add_routes(router_);
  api::add_process_metrics(metrics_);
  api::add_serving_metrics(metrics_, host);
  metrics_.add([&home](api::MetricWriter& out) {
    auto samples = home.monitor().metrics();
    if (!samples) {
      return log::error("monitoring metrics cannot be read", {{"error", samples.error().message}});
    }
    for (const monitoring::MetricSample& sample : *samples)
      out.gauge(sample.name, sample.help, sample.labels, sample.value);
  });
  metrics_.add([&home](api::MetricWriter& out) {
    out.gauge("slipway_db_writes_refused",
              "1 when the disk failed an fsync: no write is taken until a restart.", {},
              home.db().health() ? 0 : 1);
  });
  metrics_.add([&home](api::MetricWriter& out) {
    auto backlogs = home.webhooks().backlogs();
    if (!backlogs)
      return log::error("webhook metrics cannot be read", {{"error", backlogs.error().message}});
    for (const auto& [webhook, pending, dead] : *backlogs) {
      const auto gauge = [&](const char* state, std::int64_t count) {
        out.gauge("slipway_webhooks_messages", "Messages that have not been delivered.",
                  {{"webhook", webhook}, {"state", state}}, static_cast<double>(count));
      };
      gauge("pending", pending);
      gauge("dead", dead);
    }
  });
  api::add_metrics_routes(router_, metrics_);
}

}  // namespace slipway::cli
