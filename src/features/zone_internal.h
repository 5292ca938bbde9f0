// The clocks of a place: how far they are ahead of UTC at each moment, summer times included.
//   auto zone = Zone::find("America/New_York");   // from the system's zone files, when fitting
//   zone->offset_at(micros)                       // seconds east of UTC
// A zone becomes part of the fitted pipeline with all its changes: what a model was trained on is
// what it is served by, whatever zone files the serving machine has. A value; thread-safe.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace slipway::features {

class Zone {
 public:
  // "UTC", "Z", "+05:30", "-0500", or a name of the IANA database.
  static Result<Zone> find(const std::string& name);
  static Zone fixed(const std::string& name, std::int32_t offset_seconds);
  // Throws nlohmann's exceptions on wrong types.
  static Result<Zone> from_json(const Json& json);
  Json to_json() const;

  std::int32_t offset_at(std::int64_t micros) const {
    if (begins_.empty()) return before_;
    const std::int64_t seconds = micros / 1'000'000 - (micros % 1'000'000 < 0 ? 1 : 0);
    const auto after = std::upper_bound(begins_.begin(), begins_.end(), seconds);
    return after == begins_.begin()
               ? before_
               : offsets_[static_cast<std::size_t>(after - begins_.begin()) - 1];
  }

 private:
  std::string name_;
  std::int32_t before_ = 0;            // the offset before the first change
  std::vector<std::int64_t> begins_;   // of each offset, seconds since 1970; ascending
  std::vector<std::int32_t> offsets_;  // seconds east of UTC
};

}  // namespace slipway::features
