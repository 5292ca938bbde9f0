// The point-in-time join: to each row, of all that was known at its decision time, the value with
// the latest event time. Two times stand on the joined side: when a thing was so (`event`), and
// when that became known
// (`known`: a column, or an offset from the event time). A value known after the decision is never
// joined, however old its event is; of what was known, the newest event counts, so a late
// correction of an old event does not push out a newer one; of two that tell of one event, the one
// known last. A value whose event lies more than `ttl` before the decision counts as missing.
//   asof_join: {with: weather, by: origin, at: decision, event: observed, known: 1h, ttl: 6h,
//               columns: [temp, wind_speed]}
// The same rule holds for look-ups at serving time. A value type.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/spec.h"
#include "data/table.h"

namespace slipway::data {

struct PointInTime {
  std::string with;                                       // the joined relation
  std::vector<std::pair<std::string, std::string>> keys;  // left column, its column there
  std::string at;                                         // left: the decision time
  std::string event;                                      // right: when it was so
  std::string known_column;                               // right: when that became known; or
  Duration known_after{0};                                // this long after the event
  std::optional<Duration> ttl;
  std::vector<std::string> columns;  // to take; none: all but keys and times
  std::string prefix;                // of their names in the result

  static PointInTime read(SpecReader& reader);
  // One SELECT: the left rows with the columns behind them. invalid_argument names a column that is
  // not there, or stands on both sides.
  Result<std::string> sql(const std::string& left, const Schema& left_schema,
                          const Schema& right_schema) const;
};

// {left column: right column}, a list or one name, under `key`.
std::vector<std::pair<std::string, std::string>> read_join_keys(SpecReader& reader,
                                                                std::string_view key);

}  // namespace slipway::data
