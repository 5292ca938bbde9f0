// What columns look like: counts, nulls, distinct values, moments, quantiles, most frequent values,
// and bins that later data can be compared with. A Profile of the training data travels in the
// model bundle as the drift reference.
//   auto profile = Profile::of(batch, {});
//   auto now = share_in_bins(*profile->find("temp"), view);        // against
//   bin_shares(*profile->find("temp"))
// Built from Profilers, which merge: add batches on many threads or machines, merge, finish. A
// column whose distinct values fit in memory is counted exactly; beyond that these sketches are
// used:
//   quantiles: KLL (Z. Karnin, K. Lang, E. Liberty, "Optimal quantile approximation in streams",
//   2016); rank error below 0.5 %
//   distinct: HyperLogLog (P. Flajolet et al., 2007; estimator of O. Ertl, 2017); standard error
//   0.8 %
//   frequent: D. Anderson et al., "A high-performance algorithm for identifying frequent items in
//   data streams" (2017)
// Profile is a value; a Profiler is not thread-safe.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "data/table.h"

namespace slipway::data {

struct ProfileOptions {
  std::size_t bins = 10;  // for numbers: of about equal counts
  std::size_t top = 10;   // most frequent values reported
  std::size_t categories =
      50;                     // for text and booleans: bins for so many values, the rest is "other"
  int threads = 0;            // Profile::of walks columns in parallel; 0: default_threads()
  std::size_t histogram = 0;  // bars of equal width for numbers and times; 0: none
  // Rows kept, by chance, to see how columns hang together (Profile::associations); 0: none.
  std::size_t sample = 0;
  std::string target;  // with a sample: columns that tell this one are noted as leaks
};

// A partition of a column's values. Numbers and times: bin i holds (edges[i-1], edges[i]], the
// first reaches down to minus infinity, the last, after all edges, up to infinity. Text and
// booleans: one bin per category, then "other". In both cases the last bin is for nulls (and NaN).
struct Bins {
  std::vector<double> edges;            // ascending
  std::vector<std::string> categories;  // by falling count; "true"/"false" for booleans
  std::vector<std::int64_t> counts;     // [bin_count()]
  bool categorical = false;
  std::size_t bin_count() const { return (categorical ? categories.size() : edges.size()) + 2; }
  // "<= 3.5", "(3.5, 7]", "> 7", "UA", "other", "null"
  std::vector<std::string> labels() const;
  bool operator==(const Bins&) const = default;
};

// Counts of values in bars of equal width; the outermost hundredth at either end, when it lies far
// off, is in the last bars.
struct Histogram {
  double low = 0, high = 0;
  std::vector<std::int64_t> counts;
  bool operator==(const Histogram&) const = default;
};

struct ColumnProfile {
  std::string name;
  Type type = Type::text;
  std::int64_t rows = 0;
  std::int64_t nulls = 0;
  std::int64_t distinct = 0;  // of values that are not null
  bool distinct_exact = false;
  // Numbers, booleans as 0 and 1, times as microseconds; not for text. Not-a-number and infinities
  // are counted apart.
  std::int64_t not_finite = 0;
  std::int64_t zeros = 0;
  std::optional<double> min, max, mean, stddev;  // stddev of the sample (n - 1)
  std::vector<std::pair<double, double>>
      quantiles;  // probability -> value: 0.01 0.05 0.25 0.5 0.75 0.95 0.99
  // Text: lengths in bytes.
  std::int64_t shortest = 0, longest = 0;
  double mean_length = 0;
  std::vector<std::pair<Json, std::int64_t>>
      top;  // most frequent first; counts may be low by top_error
  std::int64_t top_error = 0;
  Bins bins;
  std::optional<Histogram> histogram;
  std::vector<std::string> notes;  // what looks suspicious, in words

  double null_share() const {
    return rows == 0 ? 0 : static_cast<double>(nulls) / static_cast<double>(rows);
  }
  Json to_json() const;
  static Result<ColumnProfile> from_json(const Json& json);
};

// How strongly two columns hang together, in the sampled rows where both have a value.
struct Association {
  std::string a, b;
  // pearson: of numbers. cramers_v: of categories, corrected for bias (W. Bergsma, 2013).
  // correlation_ratio: of categories `a` and numbers `b` (R. Fisher's eta).
  std::string measure;
  double value = 0;
  std::optional<double> rank;  // pearson: Spearman's correlation beside it
  std::int64_t rows = 0;
};

struct Profile {
  std::int64_t rows = 0;
  std::vector<ColumnProfile> columns;
  std::vector<Association> associations;  // the strongest first
  std::int64_t sampled = 0;               // rows they were computed from

  // Of Parquet files, as Profiler::of_files.
  static Result<Profile> of_files(const Context& ctx,
                                  const std::vector<std::filesystem::path>& files,
                                  const ProfileOptions& options);
  // In one call, of rows in memory: bin counts are exact.
  static Result<Profile> of(const Batch& batch, const ProfileOptions& options);
  const ColumnProfile* find(std::string_view column) const;  // nullptr when absent
  Json to_json() const;
  static Result<Profile> from_json(const Json& json);
};

// The mergeable accumulator.
class Profiler {
 public:
  Profiler(Schema schema, ProfileOptions options);
  ~Profiler();
  Profiler(Profiler&&) noexcept;
  Profiler& operator=(Profiler&&) noexcept;
  // Of Parquet files, in one pass over their row groups on all cores; memory does not depend on the
  // number of rows. The same files give the same profile, whatever the number of threads.
  static Result<Profiler> of_files(const Context& ctx,
                                   const std::vector<std::filesystem::path>& files,
                                   const ProfileOptions& options);
  Result<void> add(const Batch& batch);       // of the same schema
  Result<void> merge(const Profiler& other);  // of the same schema and options
  // The state as bytes (CBOR, versioned), to be merged elsewhere; some hundred kB, however many
  // rows.
  std::string save() const;
  // invalid_argument: damaged, or of another version.
  static Result<Profiler> load(std::string_view bytes);
  Profile finish() const;  // bin counts are estimates of the sketch

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// How new rows fall into a reference's bins. invalid_argument when the column's type does not fit
// the bins.
Result<std::vector<std::int64_t>> count_in_bins(const ColumnProfile& reference,
                                                const ColumnView& column);
// The same as shares that sum to 1 (all 0 for no rows).
Result<std::vector<double>> share_in_bins(const ColumnProfile& reference, const ColumnView& column);
// The reference's own shares.
std::vector<double> bin_shares(const ColumnProfile& reference);

// A table for the terminal.
std::string render_text(const Profile& profile);
// A page that needs nothing else, of a size that does not depend on the number of rows.
std::string render_html(const Profile& profile, const std::string& title);

}  // namespace slipway::data
