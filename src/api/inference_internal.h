// An infer request as tensors, and its answer as bytes. No routes here.
#pragma once
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/table.h"
#include "server/http.h"
#include "serving/served.h"

namespace slipway::api {

enum class Output { probability, label, prediction, contributions };
std::string_view to_string(Output output);
std::string_view datatype_of(Output output);
// What a target can be asked for; contributions (SHAP values) come only when they are asked for.
std::vector<Output> outputs_of(const serving::Target& target);

// The one of that name, or invalid_argument with the names there are.
Result<Output> find_output(std::span<const Output> available, std::string_view name);

struct WantedOutput {
  Output output;
  bool binary = false;
};

struct InferRequest {
  std::string id;  // may be empty
  std::vector<WantedOutput> outputs;
  std::int64_t rows = 0;
  std::chrono::microseconds timeout{0};  // until the model is asked; 0: none
};

// A request's id: short, and without control characters, as it goes on into logs and headers.
Result<void> check_id(std::string_view id);

// "FP64" …: the datatype that a column's tensor has in the metadata.
std::string_view datatype_of(data::Type type);

// Fills inference.rows (all columns of inference.served, null where the request has none).
// inference.target is set.
Result<InferRequest> parse_infer(const server::Request& request, serving::Inference& inference);
// From a scored inference.
server::Response render_infer(const InferRequest& request, const serving::Inference& inference);

// Raw little-endian tensors of the binary extension.
Result<void> read_binary(std::string_view datatype, std::string_view bytes, std::int64_t rows,
                         std::size_t column, data::BatchBuilder& into);
// Whether a tensor of this datatype may fill a column: invalid_argument says what would.
Result<void> check_datatype(std::string_view datatype, data::Type type);

// The numbers of an output of a scored inference, row-major, and their shape.
std::span<const double> numbers_of(Output output, const serving::Inference& inference);
std::vector<std::int64_t> shape_of(Output output, const serving::Inference& inference);
std::int64_t label_of(double score, const serving::Inference& inference);

void append_json_string(std::string& out, std::string_view text);

}  // namespace slipway::api
