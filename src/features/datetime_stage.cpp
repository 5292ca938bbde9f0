// Calendar parts of a timestamp. Every 64-bit count of microseconds has them, as far as the year
// 292277. Civil dates from day numbers: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"
// (2013).
#include <cmath>
#include <limits>
#include <numbers>

#include "features/stage_internal.h"

namespace slipway::features {
namespace {

using Part = DateTime::Part;

struct Calendar {
  std::int64_t year;
  int month;   // 1 to 12
  int day;     // 1 to 31
  int doy;     // 1 to 366
  int dow;     // 0 Monday to 6 Sunday
  int hour;    // 0 to 23
  int minute;  // 0 to 59
};

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}

Calendar calendar_of(std::int64_t micros, std::int32_t offset_minutes) {
  const std::int64_t minutes = floor_div(micros, 60'000'000) + offset_minutes;
  const std::int64_t days = floor_div(minutes, 1440);
  const int of_day = static_cast<int>(minutes - days * 1440);
  const std::int64_t shifted = days + 719'468;  // from 0000-03-01
  const std::int64_t era = floor_div(shifted, 146'097);
  const int of_era = static_cast<int>(shifted - era * 146'097);  // 0 to 146096
  const int year_of_era =
      (of_era - of_era / 1460 + of_era / 36'524 - of_era / 146'096) / 365;  // 0 to 399
  const int of_year =
      of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);  // from 1 March
  const int shifted_month = (5 * of_year + 2) / 153;                       // 0 March to 11 February
  Calendar out;
  out.day = of_year - (153 * shifted_month + 2) / 5 + 1;
  out.month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  out.year = year_of_era + era * 400 + (out.month <= 2 ? 1 : 0);
  const bool leap = (out.year % 4 == 0 && out.year % 100 != 0) || out.year % 400 == 0;
  out.doy = out.month <= 2 ? of_year - 305 : of_year + 60 + (leap ? 1 : 0);
  out.dow = static_cast<int>(days + 3 - floor_div(days + 3, 7) * 7);  // 1970-01-01 was a Thursday
  out.hour = of_day / 60;
  out.minute = of_day % 60;
  return out;
}

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
  explicit DateTimeStage(DateTime spec) : spec_(std::move(spec)) {
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
      const Calendar time = calendar_of(column.integer(row), spec_.offset_minutes);
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
    return {{"op", "datetime"},
            {"parts", parts},
            {"cyclical", cyclical},
            {"offset_minutes", spec_.offset_minutes}};
  }

 private:
  DateTime spec_;
  std::vector<std::vector<std::pair<double, double>>>
      waves_;  // sine and cosine of each turn of a cyclical part
};

}  // namespace

Result<StagePtr> fit_datetime(const DateTime& spec, FitBlock& fit) {
  const data::ColumnView& column = *fit.block.column;
  bool any = false;
  for (std::int64_t row = 0; row < column.rows && !any; ++row) any = !column.is_null(row);
  if (!any) return failed_precondition("no training row has a time; leave the column out");
  auto stage = std::make_unique<DateTimeStage>(spec);
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
  spec.offset_minutes = json.at("offset_minutes").get<std::int32_t>();
  if (std::abs(spec.offset_minutes) > 24 * 60)
    return invalid_argument("datetime has a zone beyond a day");
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
  return std::make_unique<DateTimeStage>(std::move(spec));
}

}  // namespace slipway::features
