#include "data/comparison.h"

#include "data/expectation_sql_internal.h"
#include "data/group_scan_internal.h"
#include "data/profile.h"
#include "data/two_sample.h"

namespace slipway::data {

namespace {

constexpr std::size_t kDistributionBins = 50;
constexpr std::size_t kDistributionCategories = 500;

// How the files' values fall into the reference's bins, exactly.
Result<std::vector<std::vector<std::int64_t>>> count_files(const Context& ctx,
                                                           const ComparedSide& side,
                                                           const Profile& reference,
                                                           const std::vector<std::string>& columns,
                                                           int threads) {
  auto scan = GroupScan::open(side.files);
  if (!scan) return scan.error();
  std::vector<std::size_t> places;
  std::vector<const ColumnProfile*> profiles;
  for (const auto& column : columns) {
    const auto at = scan->schema().find(column);
    if (!at) return at.error();
    places.push_back(*at);
    profiles.push_back(reference.find(column));
  }
  using Counts = std::vector<std::vector<std::int64_t>>;
  Counts empty;
  for (const auto* profile : profiles) empty.emplace_back(profile->bins.bin_count(), 0);
  std::vector<Counts> parts(GroupScan::workers(threads), empty);
  std::mutex mutex;
  std::optional<Error> failed;
  auto done = scan->run(ctx, places, threads, [&](std::size_t worker, const GroupBatch& batch) {
    for (std::size_t i = 0; i < places.size(); ++i) {
      const auto& column = batch.columns[i];
      auto& into = parts[worker][i];
      const auto add = [&](const ColumnView& view, std::int64_t times) {
        const auto counts = count_in_bins(*profiles[i], view);
        if (!counts) {
          const std::scoped_lock lock(mutex);
          failed = counts.error();
          return;
        }
        for (std::size_t bin = 0; bin < into.size(); ++bin) into[bin] += times * (*counts)[bin];
      };
      if (!column.coded()) {
        add(column.view, 1);
        continue;
      }
      std::vector<std::int64_t> times(static_cast<std::size_t>(column.view.rows), 0);
      for (std::int64_t row = 0; row < batch.rows; ++row) {
        if (column.is_null(row)) {
          ++into.back();
        } else {
          ++times[static_cast<std::size_t>(column.codes[row])];
        }
      }
      for (std::size_t code = 0; code < times.size(); ++code) {
        if (times[code] > 0)
          add(column.view.slice(static_cast<std::int64_t>(code), 1), times[code]);
      }
    }
  });
  if (!done) return done.error();
  if (failed) return *failed;
  for (std::size_t worker = 1; worker < parts.size(); ++worker) {
    for (std::size_t i = 0; i < places.size(); ++i) {
      for (std::size_t bin = 0; bin < parts[0][i].size(); ++bin)
        parts[0][i][bin] += parts[worker][i][bin];
    }
  }
  return std::move(parts[0]);
}

std::int64_t total_of(std::span<const std::int64_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

std::vector<double> shares_in(std::span<const std::int64_t> counts) {
  const auto total = static_cast<double>(std::max<std::int64_t>(1, total_of(counts)));
  std::vector<double> shares;
  for (const auto count : counts) shares.push_back(static_cast<double>(count) / total);
  return shares;
}

void compare_counts(const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after,
                    bool categorical, ColumnChange& change) {
  const auto rows_before = total_of(before);
  const auto rows_after = total_of(after);
  if (rows_before == 0 || rows_after == 0) return;
  change.nulls_before = static_cast<double>(before.back()) / static_cast<double>(rows_before);
  change.nulls_after = static_cast<double>(after.back()) / static_cast<double>(rows_after);
  change.nulls_p = share_test(before.back(), rows_before, after.back(), rows_after).p;
  const std::span<const std::int64_t> a(before.data(), before.size() - 1);
  const std::span<const std::int64_t> b(after.data(), after.size() - 1);
  if (total_of(a) == 0 || total_of(b) == 0) return;
  const auto expected = shares_in(a);
  const auto actual = shares_in(b);
  change.psi = *population_stability_index(expected, actual);
  if (categorical) {
    change.effect = *total_variation(expected, actual);
    change.p = chi_square_test(a, b).p;
  } else {
    const auto test = ks_test(a, b);
    change.effect = test.statistic;
    change.p = test.p;
  }
}

void decide_changes(const CompareOptions& options, std::vector<ColumnChange>& columns) {
  std::vector<double> p;
  for (const auto& column : columns) {
    p.push_back(column.p);
    p.push_back(column.nulls_p);
  }
  const auto adjusted = benjamini_hochberg(p);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    auto& column = columns[i];
    column.shifted = adjusted[2 * i] <= options.alpha && column.effect >= options.least_effect;
    column.nulls_shifted =
        adjusted[2 * i + 1] <= options.alpha &&
        std::abs(column.nulls_after - column.nulls_before) >= options.least_effect / 2;
  }
}

class RowMatcher {
 public:
  RowMatcher(const Context& ctx, Engine& engine, const ComparedSide& before,
             const ComparedSide& after, const CompareOptions& options)
      : ctx_(ctx),
        engine_(engine),
        before_(quote_name(before.relation)),
        after_(quote_name(after.relation)),
        options_(options) {
    for (const auto& column : options.key) {
      const auto name = quote_name(column);
      keys_.push_back(name);
      joins_.push_back(fmt::format("a.{0} IS NOT DISTINCT FROM b.{0}", name));
    }
  }

  Result<void> match(Comparison& into) {
    for (const auto& side : {before_, after_}) {
      const auto twice = number(fmt::format(
          "SELECT count(*) AS n FROM (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1)", side,
          fmt::join(keys_, ", ")));
      if (!twice) return twice.error();
      if (*twice > 0) {
        return invalid_argument(fmt::format(
            "the key ({}) is not unique in {}: {} keys stand there more than once; name more "
            "columns",
            fmt::join(options_.key, ", "), side == before_ ? "the first" : "the second", *twice));
      }
    }
    std::vector<ColumnChange*> shared;
    std::vector<std::string> counts = {"count(*) FILTER (b.\"slipway there\" IS NULL) AS only_a",
                                       "count(*) FILTER (a.\"slipway there\" IS NULL) AS only_b"};
    std::vector<std::string> differs;
    const std::string matched = "a.\"slipway there\" AND b.\"slipway there\"";
    for (auto& column : into.columns) {
      const bool key =
          std::find(options_.key.begin(), options_.key.end(), column.name) != options_.key.end();
      if (!column.before || column.before != column.after || key) continue;
      const auto name = quote_name(column.name);
      differs.push_back(fmt::format("a.{0} IS DISTINCT FROM b.{0}", name));
      counts.push_back(fmt::format("count(*) FILTER ({} AND {}) AS c{}", matched, differs.back(),
                                   shared.size()));
      shared.push_back(&column);
    }
    counts.push_back(
        fmt::format("count(*) FILTER ({} AND ({})) AS changed", matched,
                    differs.empty() ? "false" : fmt::format("{}", fmt::join(differs, " OR "))));
    const auto joined = fmt::format(
        "FROM (SELECT *, true AS \"slipway there\" FROM {}) a FULL JOIN (SELECT *, true AS "
        "\"slipway "
        "there\" FROM {}) b ON {}",
        before_, after_, fmt::join(joins_, " AND "));
    const auto counted =
        fetch_columns(ctx_, engine_, fmt::format("SELECT {} {}", fmt::join(counts, ", "), joined));
    if (!counted) return counted.error();
    const auto batch = counted->batch();
    into.matched = true;
    into.only_before = batch.columns[0].integer(0);
    into.only_after = batch.columns[1].integer(0);
    for (std::size_t i = 0; i < shared.size(); ++i)
      shared[i]->changed = batch.columns[2 + i].integer(0);
    into.changed = batch.columns.back().integer(0);
    for (std::size_t i = 0; i < shared.size(); ++i) {
      if (shared[i]->changed == 0 || into.examples.size() >= options_.examples) continue;
      const auto wanted = options_.examples - into.examples.size();
      if (auto shown = show(*shared[i], joined, matched + " AND " + differs[i],
                            std::max<std::size_t>(1, wanted / 2), into);
          !shown)
        return shown;
    }
    return {};
  }

 private:
  Result<std::int64_t> number(const std::string& sql) {
    const auto found = fetch_columns(ctx_, engine_, sql);
    if (!found) return found.error();
    return found->batch().columns[0].integer(0);
  }

  Result<void> show(const ColumnChange& column, const std::string& joined,
                    const std::string& condition, std::size_t limit, Comparison& into) {
    std::vector<std::string> shown;
    for (std::size_t i = 0; i < keys_.size(); ++i)
      shown.push_back(fmt::format("a.{} AS k{}", keys_[i], i));
    const auto found = fetch_columns(
        ctx_, engine_,
        fmt::format(
            "SELECT {0}, a.{1} AS before, b.{1} AS after {2} WHERE {3} ORDER BY ALL LIMIT {4}",
            fmt::join(shown, ", "), quote_name(column.name), joined, condition, limit));
    if (!found) return found.error();
    const auto batch = found->batch();
    for (std::int64_t row = 0; row < batch.rows; ++row) {
      ChangedValue value{{},
                         column.name,
                         json_of(batch.columns[keys_.size()], row),
                         json_of(batch.columns[keys_.size() + 1], row)};
      for (std::size_t i = 0; i < keys_.size(); ++i)
        value.key.push_back(json_of(batch.columns[i], row));
      into.examples.push_back(std::move(value));
    }
    return {};
  }

  const Context& ctx_;
  Engine& engine_;
  std::string before_, after_;
  const CompareOptions& options_;
  std::vector<std::string> keys_, joins_;
};

}  // namespace

Result<Comparison> compare(const Context& ctx, Engine& engine, const ComparedSide& before,
                           const ComparedSide& after, const CompareOptions& options) {
  const auto first = engine.describe("SELECT * FROM " + quote_name(before.relation));
  if (!first) return first.error();
  const auto second = engine.describe("SELECT * FROM " + quote_name(after.relation));
  if (!second) return second.error();
  for (const auto& column : options.key) {
    if (const auto found = first->find(column); !found) return found.error().at("the first");
    if (const auto found = second->find(column); !found) return found.error().at("the second");
  }
  Comparison comparison;
  std::vector<std::string> shared;
  for (const auto& field : first->fields) {
    ColumnChange change{.name = field.name, .before = field.type};
    if (const auto at = second->index(field.name)) change.after = second->fields[*at].type;
    if (change.before == change.after) shared.push_back(field.name);
    comparison.columns.push_back(std::move(change));
  }
  for (const auto& field : second->fields) {
    if (!first->index(field.name))
      comparison.columns.push_back({.name = field.name, .before = {}, .after = field.type});
  }
  const auto profile = Profile::of_files(ctx, before.files,
                                         {.bins = kDistributionBins,
                                          .categories = kDistributionCategories,
                                          .threads = options.threads});
  if (!profile) return profile.error();
  const auto then = count_files(ctx, before, *profile, shared, options.threads);
  if (!then) return then.error();
  const auto now = count_files(ctx, after, *profile, shared, options.threads);
  if (!now) return now.error();
  const auto scan = GroupScan::open(after.files);
  if (!scan) return scan.error();
  comparison.rows_before = profile->rows;
  comparison.rows_after = scan->rows();
  for (std::size_t i = 0; i < shared.size(); ++i) {
    const auto at = std::find_if(comparison.columns.begin(), comparison.columns.end(),
                                 [&](const auto& column) { return column.name == shared[i]; });
    compare_counts((*then)[i], (*now)[i], profile->find(shared[i])->bins.categorical, *at);
  }
  decide_changes(options, comparison.columns);
  if (!options.key.empty()) {
    if (auto matched = RowMatcher(ctx, engine, before, after, options).match(comparison); !matched)
      return matched.error();
  }
  return comparison;
}

}  // namespace slipway::data
