// Traffic, labels and references for the monitor's tests, made of plain rows.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "monitoring/monitor.h"

namespace slipway::monitoring::test_support {

struct LoggedRow {
  std::string id;
  Time time;
  std::int64_t version = 1;
  std::string alias = "champion";
  double score = 0.5;
  double temp = 0;
  std::string carrier = "UA";
  std::optional<double> label;
};

inline data::Schema log_schema(bool with_inputs) {
  data::Schema schema{{{"id", data::Type::text, false},
                       {"time", data::Type::timestamp, false},
                       {"version", data::Type::int64, false},
                       {"role", data::Type::text, false},
                       {"alias", data::Type::text, false},
                       {"latency_us", data::Type::int64, false},
                       {"score", data::Type::float64, true}}};
  if (with_inputs) {
    schema.fields.push_back({"temp", data::Type::float64, true});
    schema.fields.push_back({"carrier", data::Type::text, true});
  }
  return schema;
}

inline data::TablePtr log_table(const std::vector<LoggedRow>& rows, bool shadow) {
  data::BatchBuilder builder(log_schema(!shadow));
  std::int64_t latency = 0;
  for (const auto& row : rows) {
    builder.append_text(0, row.id);
    builder.append_integer(1, to_micros(row.time));
    builder.append_integer(2, row.version);
    builder.append_text(3, shadow ? "shadow" : "primary");
    builder.append_text(4, row.alias);
    builder.append_integer(5, ++latency * 1000);
    if (std::isnan(row.score)) {
      builder.append_null(6);
    } else {
      builder.append_real(6, row.score);
    }
    if (shadow) continue;
    builder.append_real(7, row.temp);
    builder.append_text(8, row.carrier);
  }
  auto table = builder.to_table();
  return table ? *table : nullptr;
}

// A world whose scores say `quality` of the truth: 1 all, 0 nothing.
inline std::vector<LoggedRow> draw_rows(Rng& rng, Time from, Duration length, int count,
                                        double quality, double shift = 0) {
  std::vector<LoggedRow> rows;
  for (int i = 0; i < count; ++i) {
    LoggedRow row;
    row.time = from + length * i / count;
    row.id = "p" + std::to_string(to_micros(row.time)) + "-" + std::to_string(i);
    const double truth = rng.uniform();
    row.label = rng.uniform() < truth ? 1 : 0;
    row.score = quality * truth + (1 - quality) * rng.uniform();
    row.temp = rng.normal() + shift;
    row.carrier = rng.below(3) == 0 ? "AA" : "UA";
    rows.push_back(row);
  }
  return rows;
}

class FakeTraffic final : public Traffic, public LabelSource {
 public:
  Result<data::TablePtr> read(const std::string&, Time from, Time to, bool shadow) override {
    std::vector<LoggedRow> found;
    for (const auto& row : shadow ? shadows : primaries) {
      if (row.time >= from && row.time < to) found.push_back(row);
    }
    return log_table(found, shadow);
  }
  Result<std::optional<Time>> first(const std::string&) override {
    return primaries.empty() ? std::optional<Time>() : primaries.front().time;
  }
  std::optional<Time> watermark(const std::string&) override {
    return primaries.empty() ? std::optional<Time>() : std::max(primaries.back().time, mark);
  }
  Result<std::vector<std::optional<double>>> labels(const std::string&,
                                                    std::span<const std::string> ids) override {
    if (on_labels) on_labels();
    if (labels_down) return unavailable("labels are away");
    std::map<std::string, std::optional<double>> by_id;
    for (const auto& row : primaries) by_id[row.id] = row.label;
    std::vector<std::optional<double>> found;
    for (const auto& id : ids) found.push_back(by_id[id]);
    return found;
  }
  void add(const std::vector<LoggedRow>& rows) {
    primaries.insert(primaries.end(), rows.begin(), rows.end());
  }

  std::vector<LoggedRow> primaries, shadows;
  std::function<void()> on_labels;
  Time mark{};
  bool labels_down = false;
};

// The reference of a good model's training data.
inline Reference good_reference() {
  Rng rng(99);
  const auto rows = draw_rows(rng, Time{}, std::chrono::days(7), 3000, 1);
  const data::Schema schema{
      {{"temp", data::Type::float64, true}, {"carrier", data::Type::text, true}}};
  data::BatchBuilder builder(schema);
  std::vector<double> scores;
  for (const auto& row : rows) {
    builder.append_real(0, row.temp);
    builder.append_text(1, row.carrier);
    scores.push_back(row.score);
  }
  auto reference = Reference::build(*builder.batch(), scores);
  if (!reference) return {};
  reference->metrics = {{"auc", 0.83}, {"log_loss", 0.5}};
  reference->importance = {{"temp", 3}, {"carrier", 1}};
  return *reference;
}

class FakeReferences final : public References {
 public:
  Result<std::shared_ptr<const Reference>> find(const std::string&, std::int64_t version) override {
    const auto found = by_version.find(version);
    return found == by_version.end() ? nullptr : found->second;
  }
  std::map<std::int64_t, std::shared_ptr<const Reference>> by_version{
      {1, std::make_shared<const Reference>(good_reference())}};
};

}  // namespace slipway::monitoring::test_support
