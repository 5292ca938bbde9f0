// Where batch prediction reads its rows: pieces of at most kPieceRows, in order, from any row on.
#pragma once
#include <arrow/type_fwd.h>

#include <memory>

#include "models/batch_file.h"

namespace slipway::models {

inline constexpr std::int64_t kPieceRows = 32'768;

class BatchRows {
 public:
  virtual ~BatchRows() = default;
  virtual std::int64_t rows() const = 0;  // 0: not known
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  // Null at the end.
  virtual Result<std::shared_ptr<arrow::Table>> next() = 0;
};

// The first `skip` rows are left out.
Result<std::unique_ptr<BatchRows>> open_rows(const BatchFileOptions& options,
                                             const data::Schema& inputs, std::int64_t skip);

}  // namespace slipway::models
