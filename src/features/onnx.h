// A fitted pipeline as an ONNX model, for programs that run those: raw columns in, the matrix out.
//   auto bytes = to_onnx(pipeline);     // unimplemented names every feature that ONNX cannot
//   express
// Inputs are one tensor [rows, 1] a column: numbers, truth values and integers as double, missing
// as NaN; texts as string, missing as the text kOnnxMissing. The output "features" is float [rows,
// outputs]. Numbers are computed in double as here; logarithms and powers may differ in the last
// digit, as ONNX has no log1p and expm1. Format: onnx.proto of ONNX 1.16 (IR version 8), opset 17
// and ai.onnx.ml 2.
#pragma once
#include <string>

#include "base/result.h"
#include "features/pipeline.h"

namespace slipway::features {

inline constexpr const char* kOnnxMissing = "(missing)";

Result<std::string> to_onnx(const Pipeline& pipeline);

}  // namespace slipway::features
