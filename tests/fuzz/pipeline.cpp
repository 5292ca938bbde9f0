// Any bytes as the JSON of a fitted pipeline, and as a declaration: refused with a message, or run
// within their bounds.
#include "features/pipeline.h"

#include "base/rng.h"
#include "support/odd_rows.h"

using namespace slipway;  // NOLINT: one file, one function

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const data::BatchBuilder rows = [] {
    data::BatchBuilder builder(test::odd_schema());
    Rng rng(1);
    test::append_odd_rows(builder, rng, 64);
    return builder;
  }();
  const auto json = parse_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!json) return 0;
  const auto batch = rows.batch();
  if (json->is_array()) {
    const auto spec = features::PipelineSpec::from_json(*json);
    if (!spec) return 0;
    const std::vector<double> target(64, 0.5);
    (void)features::Pipeline::fit_transform({}, *spec, *batch, target, {.threads = 1});
    return 0;
  }
  const auto pipeline = features::Pipeline::from_json(*json);
  if (!pipeline) {
    if (pipeline.error().message.empty()) std::abort();
    return 0;
  }
  std::vector<float> out(64 * pipeline->outputs().size());
  (void)pipeline->transform(*batch, out, 1);
  // What was accepted is written as it was read.
  const auto again = features::Pipeline::from_json(pipeline->to_json());
  if (!again || again->digest() != pipeline->digest()) std::abort();
  return 0;
}
