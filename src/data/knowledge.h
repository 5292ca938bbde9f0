// When columns become known, declared, so that a feature from the future is an error and not a
// miracle.
//   known:
//     decision: -1h             # when the prediction is made, from the event time
//     default: -1h              # for columns not named: by default, at the decision
//     columns: {dep_time: 0m, dep_delay: 0m, arr_delay: label}
// A value type. "label" means: not before the label itself.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/spec.h"
#include "data/table.h"

namespace slipway::data {

struct Knowledge {
  Duration decision{0};
  std::optional<Duration> otherwise;  // of columns not named; nothing: known at the decision
  std::map<std::string, std::optional<Duration>>
      known;  // column -> offset from the event time; nothing: with the label

  // From the object under `key`; a missing one declares nothing. Problems are left in the reader.
  static Knowledge read(SpecReader& reader, std::string_view key);
  // invalid_argument when a declared column is not in the schema.
  Result<void> check_schema(const Schema& schema) const;
  // invalid_argument naming every feature that becomes known after the decision, and when.
  Result<void> check_features(const std::vector<std::string>& columns) const;
  Json to_json() const;
};

// "-1h", "+30m", "0m", "2d": parse_duration with a sign.
Result<Duration> parse_offset(std::string_view text);

}  // namespace slipway::data
