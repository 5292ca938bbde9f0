// What a model is trained on: features as a dense row-major matrix of floats, missing values as
// NaN, and one label a row.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace slipway::features {

struct Matrix {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<float> values;       // [rows, cols]
  std::vector<double> labels;      // [rows]
  std::vector<std::string> names;  // [cols]; may be empty

  std::span<const float> row(std::size_t index) const {
    return std::span(values).subspan(index * cols, cols);
  }
};

}  // namespace slipway::features
