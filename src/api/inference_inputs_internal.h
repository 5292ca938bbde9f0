// The inputs of one request against the columns of what answers it: which tensor fills which
// column, that each comes once, with the same rows, in a datatype that fits, and that none is
// missing. How the values come is the protocol's affair.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "data/table.h"
#include "serving/served.h"

namespace slipway::api {

// Rows of a tensor of shape [n] or [n, 1], n from 1.
Result<std::int64_t> rows_of(std::span<const std::int64_t> shape);

class InputColumns {
 public:
  // Everything outlives this.
  InputColumns(const serving::Served& served, const serving::Target& target,
               data::BatchBuilder& into)
      : served_(served), target_(target), into_(into), seen_(served.columns().fields.size()) {}
  // The column that the tensor's values go to.
  Result<std::size_t> bind(std::string_view name, std::string_view datatype, std::int64_t rows);
  // When all tensors are there: columns nobody sent are null.
  Result<void> finish();

  std::int64_t rows() const { return rows_; }
  data::BatchBuilder& into() { return into_; }

 private:
  std::optional<std::size_t> place(std::string_view name);

  const serving::Served& served_;
  const serving::Target& target_;
  data::BatchBuilder& into_;
  std::vector<bool> seen_;
  std::size_t next_ = 0;
  std::int64_t rows_ = 0;
};

}  // namespace slipway::api
