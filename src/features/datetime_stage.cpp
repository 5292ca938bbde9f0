// Calendar parts of a timestamp, on the clocks of a zone.
#include <cmath>
#include <limits>
#include <numbers>

#include "features/calendar_internal.h"
#include "features/stage_internal.h"
#include "features/zone_internal.h"

namespace slipway::features {
namespace {

using Part = DateTime::Part;

// A part as a count from 0, and how many there are until it comes round (0: never).
std::pair<std::int64_t, int> turn_of(const Calendar& time, Part part) {
  switch (part) {
    case Part::minute:
      return {time.minute, 60};
    case Part::hour:
      return {time.hour, 24};
    case Part::dow:
      return {time.dow, 7};
    case Part::day:
      return {time.day - 1, 31};
    case Part::doy:
      return {time.doy - 1, 366};
    case Part::month:
      return {time.month - 1, 12};
    case Part::year:
      break;
  }
  return {time.year, 0};
}

double value_of(const Calendar& time, Part part) {
  const bool from_one = part == Part::day || part == Part::doy || part == Part::month;
  return static_cast<double>(turn_of(time, part).first + (from_one ? 1 : 0));
}

class DateTimeStage final : public Stage {
 public:
  DateTimeStage(DateTime spec, Zone zone) : spec_(std::move(spec)), zone_(std::move(zone)) {
    for (const Part part : spec_.cyclical) {
      const int period = turn_of(Calendar{}, part).second;
      std::vector<std::pair<double, double>> table;
      for (int i = 0; i < period; ++i) {
        const double angle = 2 * std::numbers::pi * i / period;
        table.emplace_back(std::sin(angle), std::cos(angle));
      }
      waves_.push_back(std::move(table));
    }
  }

  void apply(Block& block) const override {
    const data::ColumnView& column = *block.column;
    const std::size_t width = spec_.parts.size() + 2 * spec_.cyclical.size();
    for (std::size_t i = 0; i < block.rows; ++i) {
      const std::int64_t row = block.begin + static_cast<std::int64_t>(i);
      double* out = block.values + i;
      if (column.is_null(row)) {
        for (std::size_t k = 0; k < width; ++k) out[k * block.stride] = kMissing;
        continue;
      }
      const Calendar time = calendar_of(column.integer(row), zone_.offset_at(column.integer(row)));
      for (const Part part : spec_.parts) {
        *out = value_of(time, part);
        out += block.stride;
      }
      for (std::size_t k = 0; k < spec_.cyclical.size(); ++k) {
        const auto& [sine, cosine] =
            waves_[k][static_cast<std::size_t>(turn_of(time, spec_.cyclical[k]).first)];
        out[0] = sine;
        out[block.stride] = cosine;
        out += 2 * block.stride;
      }
    }
  }

  void advance(Shape& shape) const override {
    const std::string name = shape.names[0] + ".";
    shape.names.clear();
    for (const Part part : spec_.parts) shape.names.push_back(name + std::string(name_of(part)));
    for (const Part part : spec_.cyclical) {
      shape.names.push_back(name + std::string(name_of(part)) + "_sin");
      shape.names.push_back(name + std::string(name_of(part)) + "_cos");
    }
    shape.raw = false;
  }

  Json to_json() const override {
    Json parts = Json::array();
    Json cyclical = Json::array();
    for (const Part part : spec_.parts) parts.push_back(name_of(part));
    for (const Part part : spec_.cyclical) cyclical.push_back(name_of(part));
    return {
        {"op", "datetime"}, {"parts", parts}, {"cyclical", cyclical}, {"zone", zone_.to_json()}};
  }

 private:
  DateTime spec_;
  Zone zone_;
  std::vector<std::vector<std::pair<double, double>>>
      waves_;  // sine and cosine of each turn of a cyclical part
};

}  // namespace

Result<StagePtr> fit_datetime(const DateTime& spec, FitBlock& fit) {
  const data::ColumnView& column = *fit.block.column;
  bool any = false;
  for (std::int64_t row = 0; row < column.rows && !any; ++row) any = !column.is_null(row);
  if (!any) return failed_precondition("no training row has a time; leave the column out");
  auto zone = Zone::find(spec.zone);
  if (!zone) return zone.error();
  auto stage = std::make_unique<DateTimeStage>(spec, std::move(*zone));
  if (fit.block.values != nullptr)
    stage->apply(fit.block);  // else nothing follows that would read the parts
  stage->advance(fit.shape);
  return StagePtr(std::move(stage));
}

Result<StagePtr> datetime_stage_from_json(const Json& json, const Shape& shape) {
  if (!shape.raw || shape.type != data::Type::timestamp) {
    return invalid_argument("datetime cannot stand at this place of the chain");
  }
  DateTime spec;
  auto zone = Zone::from_json(json.at("zone"));
  if (!zone) return zone.error();
  const auto part_of = [](const std::string& word) -> Result<Part> {
    for (const Part part :
         {Part::minute, Part::hour, Part::dow, Part::day, Part::doy, Part::month, Part::year}) {
      if (name_of(part) == word) return part;
    }
    return invalid_argument("no part of a time is called '" + word + "'");
  };
  for (const auto& [key, list] :
       {std::pair{"parts", &spec.parts}, std::pair{"cyclical", &spec.cyclical}}) {
    for (const Json& word : json.at(key)) {
      const auto part = part_of(word.get<std::string>());
      if (!part) return part.error();
      if (list == &spec.cyclical && *part == Part::year) {
        return invalid_argument("a year does not come round again");
      }
      list->push_back(*part);
    }
  }
  if (spec.parts.empty() && spec.cyclical.empty())
    return invalid_argument("datetime names no part");
  return std::make_unique<DateTimeStage>(std::move(spec), std::move(*zone));
}

}  // namespace slipway::features
