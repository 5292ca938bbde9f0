// What an ONNX file refers to beside itself, found without trusting it.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipway::models {

// The files in which tensors of a model are kept outside of it (TensorProto.external_data),
// wherever in the model they stand. data_loss: no ONNX model, or nested too deep.
Result<std::vector<std::string>> external_files(std::string_view model);

}  // namespace slipway::models
