#include "tracking/metric_store_internal.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

// This many points of one metric in one call become a chunk at once.
constexpr std::size_t kChunkAtOnce = 64;
// A run's log is packed when it has this many rows or points.
constexpr std::int64_t kMostLogRows = 256;
constexpr std::int64_t kMostLogPoints = 32'768;
// Fewer new points than kChunkAtOnce join the metric's newest chunk, up to this size.
constexpr std::int64_t kFullChunk = 1'024;

struct Group {
  std::string_view key;
  std::vector<Point> points;
};

// The metrics' points by key, each sorted and once; in the order of the keys, which is the order of
// the tables' trees.
std::vector<Group> group_by_key(std::span<const Metric> metrics) {
  std::vector<Group> groups;
  std::unordered_map<std::string_view, std::size_t> places;
  for (const Metric& metric : metrics) {
    std::size_t place = 0;
    if (metrics.size() > 1) place = places.try_emplace(metric.key, groups.size()).first->second;
    if (place == groups.size()) groups.push_back({.key = metric.key, .points = {}});
    groups[place].points.push_back(
        {metric.timestamp_ms, metric.step,
         std::isnan(metric.value) ? metric.value : storable(metric.value)});
  }
  for (Group& group : groups) sort_points(group.points);
  std::ranges::sort(groups, {}, &Group::key);
  return groups;
}

// MLflow's rule: the greatest (step, time, value), where NaN counts as 0.
const Point& latest(std::span<const Point> points) {
  return *std::ranges::max_element(points, [](const Point& a, const Point& b) {
    return std::tuple(a.step, a.timestamp_ms, place_of(a.value)) <
           std::tuple(b.step, b.timestamp_ms, place_of(b.value));
  });
}

Result<void> insert_chunk(db::Transaction& tx, std::int64_t run, std::string_view key,
                          std::span<const Point> points) {
  const std::string data = encode_chunk(points);
  return tx.run(sql::insert_metric_chunk, run, key, points.size(), points.front().timestamp_ms,
                points.back().timestamp_ms, db::Blob{data});
}

// Adds points that came out of the log to the metric's chunks.
Result<void> add_to_chunks(db::Transaction& tx, std::int64_t run, std::string_view key,
                           std::vector<Point> points) {
  sort_points(points);
  if (points.size() < kChunkAtOnce) {
    std::int64_t id = 0;
    {
      auto rows = tx.query(sql::newest_metric_chunk, run, key);
      if (!rows) return rows.error();
      if (rows->next() && rows->integer(1) + std::ssize(points) <= kFullChunk) {
        id = rows->integer(0);
        if (auto decoded = decode_chunk(rows->view(2), points); !decoded) return decoded;
      }
      if (auto status = rows->status(); !status) return status;
    }
    if (id != 0) {
      sort_points(points);
      const std::string data = encode_chunk(points);
      return tx.run(sql::replace_metric_chunk, id, points.size(), points.front().timestamp_ms,
                    points.back().timestamp_ms, db::Blob{data});
    }
  }
  return insert_chunk(tx, run, key, points);
}

// Calls each(key, chunk) for all that the run's log holds.
Result<void> walk_log(db::Connection& connection, std::int64_t run,
                      const std::function<Result<void>(std::string_view, std::string_view)>& each) {
  auto rows = connection.query(sql::metric_log, run);
  if (!rows) return rows.error();
  while (rows->next()) {
    std::string_view record = rows->view(0);
    std::string_view key;
    std::string_view chunk;
    while (true) {
      const auto more = next_in_record(record, key, chunk);
      if (!more) return more.error();
      if (!*more) break;
      if (auto done = each(key, chunk); !done) return done;
    }
  }
  return rows->status();
}

Result<void> pack_log(db::Transaction& tx, std::int64_t run) {
  std::map<std::string, std::vector<Point>, std::less<>> metrics;
  auto walked = walk_log(tx, run, [&](std::string_view key, std::string_view chunk) {
    auto found = metrics.find(key);
    if (found == metrics.end()) found = metrics.try_emplace(std::string(key)).first;
    return decode_chunk(chunk, found->second);
  });
  if (!walked) return walked;
  for (auto& [key, points] : metrics) {
    if (auto added = add_to_chunks(tx, run, key, std::move(points)); !added) return added;
  }
  return tx.run(sql::delete_metric_log, run);
}

Result<void> append_to_log(db::Transaction& tx, std::int64_t run, std::string_view record,
                           std::int64_t points) {
  std::int64_t n = 1;
  {
    auto rows = tx.query(sql::last_metric_log, run);
    if (!rows) return rows.error();
    if (rows->next()) {
      n = rows->integer(0) + 1;
      points += rows->integer(1);
    }
    if (auto status = rows->status(); !status) return status;
  }
  if (auto put = tx.run(sql::insert_metric_log, run, n, points, db::Blob{record}); !put) return put;
  if (n < kMostLogRows && points < kMostLogPoints) return {};
  return pack_log(tx, run);
}

// What is known of a stored stretch of points without reading it.
struct Stretch {
  std::int64_t id = 0;
  std::int64_t points = 0;
  std::int64_t first_ms = 0;
  std::int64_t last_ms = 0;
};

Result<std::vector<Stretch>> read_stretches(db::Connection& connection, std::int64_t run,
                                            std::string_view key) {
  std::vector<Stretch> stretches;
  auto rows = connection.query(sql::metric_chunk_sizes, run, key);
  if (!rows) return rows.error();
  while (rows->next()) {
    stretches.push_back({rows->integer(0), rows->integer(1), rows->integer(2), rows->integer(3)});
  }
  if (auto status = rows->status(); !status) return status.error();
  return stretches;
}

// Points that are in no chunk.
Result<std::vector<Point>> read_loose(db::Connection& connection, std::int64_t run,
                                      std::string_view key) {
  std::vector<Point> points;
  auto walked =
      walk_log(connection, run, [&](std::string_view name, std::string_view chunk) -> Result<void> {
        return name == key ? decode_chunk(chunk, points) : Result<void>();
      });
  if (!walked) return walked.error();
  auto rows = connection.query(sql::old_metric_points, run, key);
  if (!rows) return rows.error();
  while (rows->next()) {
    points.push_back(
        {rows->integer(3), rows->integer(2), from_storage(rows->real(0), rows->integer(1) != 0)});
  }
  if (auto status = rows->status(); !status) return status.error();
  sort_points(points);
  return points;
}

}  // namespace

Result<void> write_metrics(db::Transaction& tx, std::int64_t run, std::span<const Metric> metrics) {
  if (metrics.empty()) return {};
  const std::vector<Group> groups = group_by_key(metrics);
  std::string record;
  std::int64_t logged = 0;
  for (const Group& group : groups) {
    if (group.points.size() >= kChunkAtOnce) {
      if (auto put = insert_chunk(tx, run, group.key, group.points); !put) return put;
    } else {
      append_to_record(record, group.key, encode_chunk(group.points));
      logged += std::ssize(group.points);
    }
  }
  if (logged > 0) {
    if (auto put = append_to_log(tx, run, record, logged); !put) return put;
  }
  for (const Group& group : groups) {
    const Point& point = latest(group.points);
    auto updated = tx.run(sql::upsert_latest_metric, run, group.key, place_of(point.value),
                          std::isnan(point.value), point.step, point.timestamp_ms);
    if (!updated) return updated;
  }
  return {};
}

Result<std::vector<Point>> read_points(db::Connection& connection, std::int64_t run,
                                       std::string_view key, std::int64_t offset,
                                       std::int64_t limit) {
  const auto stretches = read_stretches(connection, run, key);
  if (!stretches) return stretches.error();
  auto loose = read_loose(connection, run, key);
  if (!loose) return loose.error();

  std::vector<Point> points;   // after the offset
  std::vector<Point> pending;  // sorted with what overlaps it before it counts
  std::int64_t skip = offset;
  std::size_t loose_at = 0;
  const auto enough = [&] { return limit >= 0 && std::ssize(points) >= limit; };
  const auto settle = [&] {
    sort_points(pending);
    const auto skipped = std::min<std::int64_t>(skip, std::ssize(pending));
    skip -= skipped;
    points.insert(points.end(), pending.begin() + skipped, pending.end());
    pending.clear();
  };
  // Loose points before this time.
  const auto take_loose = [&](std::int64_t end_ms) {
    while (loose_at < loose->size() && (*loose)[loose_at].timestamp_ms < end_ms) {
      pending.push_back((*loose)[loose_at++]);
    }
  };

  for (std::size_t at = 0; at < stretches->size() && !enough();) {
    take_loose((*stretches)[at].first_ms);
    settle();
    // Stretches that overlap in time are one.
    std::size_t end = at;
    std::int64_t last_ms = (*stretches)[at].last_ms;
    while (end < stretches->size() && (end == at || (*stretches)[end].first_ms <= last_ms)) {
      last_ms = std::max(last_ms, (*stretches)[end++].last_ms);
    }
    const bool alone =
        end == at + 1 && (loose_at == loose->size() || (*loose)[loose_at].timestamp_ms > last_ms);
    if (alone && skip >= (*stretches)[at].points) {
      skip -= (*stretches)[at++].points;
      continue;
    }
    auto rows = connection.query(sql::metric_chunks, run, key, (*stretches)[at].first_ms,
                                 (*stretches)[end - 1].first_ms);
    if (!rows) return rows.error();
    while (rows->next()) {
      if (auto decoded = decode_chunk(rows->view(0), pending); !decoded) return decoded.error();
    }
    if (auto status = rows->status(); !status) return status.error();
    if (last_ms < std::numeric_limits<std::int64_t>::max()) take_loose(last_ms + 1);
    settle();
    at = end;
  }
  if (!enough()) {
    pending.assign(loose->begin() + static_cast<std::ptrdiff_t>(loose_at), loose->end());
    settle();
  }
  if (limit >= 0 && std::ssize(points) > limit) points.resize(static_cast<std::size_t>(limit));
  return points;
}

std::vector<Point> sample_points(std::vector<Point> points, std::size_t most) {
  if (!std::ranges::is_sorted(points, is_left_of)) std::ranges::sort(points, is_left_of);
  if (points.size() <= most) return points;
  if (most <= 1) return {points.back()};
  // SQL's ntile(): the first size % most stretches are longer by one.
  const std::size_t length = points.size() / most;
  const std::size_t longer = points.size() % most;
  std::vector<Point> sampled;
  sampled.reserve(most);
  for (std::size_t i = 0; i < most; ++i) {
    sampled.push_back(points[i * length + std::min(i, longer)]);
  }
  sampled.back() = points.back();
  return sampled;
}

}  // namespace slipway::tracking
