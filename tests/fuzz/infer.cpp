// Any bytes as a request for a prediction: the first byte says which protocol reads the rest. 0:
// Open Inference JSON; 1: JSON with binary tensors behind it, the next two bytes are its length; 2:
// a gRPC message; 3 and 4: MLflow's JSON and CSV. Reading gives rows whose columns have one length,
// or an error that says something and blames the caller.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "api/grpc_messages_internal.h"
#include "api/inference_internal.h"
#include "api/invocations_internal.h"

namespace {

using namespace slipway;  // NOLINT(google-build-using-namespace): a program of its own

// Scores nothing: what is tested is read before.
class MuteScorer final : public serving::Scorer {
 public:
  const data::Schema& inputs() const override { return inputs_; }
  Result<void> score(const data::Batch&, std::span<double>) const override { return {}; }
  bool is_classifier() const override { return true; }
  Json describe() const override { return Json::object(); }

 private:
  const data::Schema inputs_{.fields = {{.name = "x", .type = data::Type::float64},
                                        {.name = "n", .type = data::Type::int64},
                                        {.name = "text", .type = data::Type::text},
                                        {.name = "flag", .type = data::Type::boolean},
                                        {.name = "at", .type = data::Type::timestamp}}};
};

std::shared_ptr<const serving::Served> mute_model() {
  serving::Target target{.alias = "champion",
                         .version = {.number = 1, .digest = "mute"},
                         .scorer = std::make_shared<MuteScorer>(),
                         .stats = std::make_shared<serving::VersionStats>()};
  return std::make_shared<const serving::Served>(
      serving::Deployment{.name = "mute", .model = "mute"}, std::move(target),
      std::vector<serving::Target>{}, std::vector<serving::Target>{}, std::vector<std::string>{},
      std::make_shared<serving::DeploymentStats>());
}

Result<api::InferRequest> read_as(std::uint8_t form, std::string_view bytes,
                                  serving::Inference& inference) {
  server::Request request;
  if (form == 1 && bytes.size() >= 2) {
    const std::size_t length =
        static_cast<std::uint8_t>(bytes[0]) * 256U + static_cast<std::uint8_t>(bytes[1]);
    request.headers.emplace_back("inference-header-content-length", std::to_string(length));
    bytes.remove_prefix(2);
  }
  if (form == 2) {
    ::inference::ModelInferRequest message;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      return invalid_argument("no message");
    return api::read_message(message, inference);
  }
  if (form == 3) return api::read_invocation(bytes, "application/json", inference);
  if (form == 4) return api::read_invocation(bytes, "text/csv", inference);
  request.body = bytes;
  return api::parse_infer(request, inference);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::shared_ptr<const serving::Served> model = mute_model();
  if (size == 0) return 0;
  const std::shared_ptr<serving::Inference> inference = model->begin();
  const auto read =
      read_as(data[0] % 5, {reinterpret_cast<const char*>(data) + 1, size - 1}, *inference);
  if (!read) {
    if (read.error().message.empty() || read.error().code != Code::invalid_argument) std::abort();
    return 0;
  }
  const auto batch = inference->rows.batch();
  if (!batch || batch->rows != read->rows || read->rows < 1) std::abort();
  return 0;
}
