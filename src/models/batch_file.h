// A file of rows through a model, into a file of the same rows with their scores: all cores, any
// size, and resumable. Rows stay in order. The output appears when it is whole; until then what is
// done stands in OUTPUT.partial and is accounted for in OUTPUT.journal, so that a run that was
// killed goes on behind the last piece that is on the disk. The scores are the bits that serving
// gives: it is the same code.
//   auto done = predict_file(ctx, *servable, {.input = "in.parquet", .output = "out.parquet",
//                                             .model_digest = digest}, progress);
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/result.h"
#include "models/servable.h"

namespace slipway::models {

struct BatchFileOptions {
  std::filesystem::path input;           // .parquet, .csv, .tsv
  std::filesystem::path output;          // .parquet, .csv
  std::string model_digest;              // a run is only resumed with the same model
  std::vector<std::string> keep;         // columns of the input in the output; empty: all
  std::string score = "score";           // of several numbers: score_0, score_1 …
  bool contributions = false;            // columns contribution_FEATURE, contribution_base
  std::vector<std::string> null_values;  // CSV: beside the empty field
  int threads = 0;                       // 0: default_threads()
};

struct BatchFileReport {
  std::int64_t rows = 0;
  std::int64_t resumed_rows = 0;  // of these, done by a run before
};

// After every piece, on one thread at a time: rows that are done, of how many (0: not known).
using BatchProgress = std::function<void(std::int64_t done, std::int64_t all)>;

// invalid_argument: columns are missing or of another type; the message names them.
Result<BatchFileReport> predict_file(const Context& ctx, const Servable& model,
                                     const BatchFileOptions& options,
                                     const BatchProgress& progress = {});

}  // namespace slipway::models
