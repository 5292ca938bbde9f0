#include "serving/batcher.h"

namespace slipway::serving {
namespace {

void append_column(const data::ColumnView& from, std::size_t column, data::BatchBuilder& into) {
  for (std::int64_t row = 0; row < from.rows; ++row) {
    if (from.is_null(row)) {
      into.append_null(column);
      continue;
    }
    switch (from.type) {
      case data::Type::boolean:
        into.append_boolean(column, from.boolean(row));
        break;
      case data::Type::int64:
      case data::Type::timestamp:
        into.append_integer(column, from.integer(row));
        break;
      case data::Type::float64:
        into.append_real(column, from.real(row));
        break;
      case data::Type::text:
        into.append_text(column, from.text(row));
        break;
    }
  }
}

// The part of `all` that belongs to rows [begin, begin + count) of `rows`.
void take_rows(const std::vector<double>& all, std::size_t rows, std::size_t begin,
               std::size_t count, std::vector<double>& into) {
  const std::size_t width = rows == 0 ? 0 : all.size() / rows;
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(begin * width);
  into.assign(first, first + static_cast<std::ptrdiff_t>(count * width));
}

Result<void> score_joined(const ModelHost& host, std::span<Inference* const> members) {
  const Inference& first = *members.front();
  const std::shared_ptr<Inference> joined = first.served->begin();
  joined->target = first.target;
  joined->routed = first.routed;
  joined->explain = first.explain;
  joined->started = first.started;
  for (Inference* member : members) {
    if (auto viewed = member->rows.view(member->batch); !viewed) return viewed;
    for (std::size_t column = 0; column < member->batch.columns.size(); ++column)
      append_column(member->batch.columns[column], column, joined->rows);
  }
  if (auto scored = host.score(*joined); !scored) return scored;
  std::size_t begin = 0;
  const std::size_t rows = joined->scores.size();
  for (Inference* member : members) {
    const auto count = static_cast<std::size_t>(member->batch.rows);
    take_rows(joined->scores, rows, begin, count, member->scores);
    take_rows(joined->values, rows, begin, count, member->values);
    if (first.explain) take_rows(joined->contributions, rows, begin, count, member->contributions);
    member->latency_us = joined->latency_us;
    begin += count;
  }
  return {};
}

}  // namespace

bool batchable(const Inference& a, const Inference& b) {
  return a.served == b.served && a.target == b.target && a.explain == b.explain &&
         a.routed == b.routed;
}

std::vector<Result<void>> score_together(const ModelHost& host,
                                         std::span<Inference* const> members) {
  std::vector<Result<void>> outcomes;
  outcomes.reserve(members.size());
  if (members.size() > 1 && score_joined(host, members)) {
    outcomes.resize(members.size());
    return outcomes;
  }
  for (Inference* member : members) outcomes.push_back(host.score(*member));
  return outcomes;
}

}  // namespace slipway::serving
