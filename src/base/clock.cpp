#include "base/clock.h"

#include <fmt/format.h>

#include <cctype>
#include <cmath>

namespace slipway {
namespace {

constexpr std::int64_t kMicrosPerDay = 86'400'000'000;

// Reads exactly `digits` digits from the front of `text`.
bool take_number(std::string_view& text, std::size_t digits, int& value) {
  if (text.size() < digits) return false;
  value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    if (std::isdigit(static_cast<unsigned char>(text[i])) == 0) return false;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return true;
}

bool take_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// "HH:MM[:SS[.fraction]]"; false when malformed.
bool take_time_of_day(std::string_view& text, std::int64_t& micros) {
  int hour = 0;
  int minute = 0;
  int second = 0;
  std::int64_t fraction = 0;
  if (!take_number(text, 2, hour) || !take_char(text, ":") || !take_number(text, 2, minute))
    return false;
  if (take_char(text, ":")) {
    if (!take_number(text, 2, second)) return false;
    if (take_char(text, ".")) {
      std::int64_t unit = 100'000;
      if (text.empty() || std::isdigit(static_cast<unsigned char>(text.front())) == 0) return false;
      while (!text.empty() && std::isdigit(static_cast<unsigned char>(text.front())) != 0) {
        fraction += unit * (text.front() - '0');
        unit /= 10;
        text.remove_prefix(1);
      }
    }
  }
  if (hour > 23 || minute > 59 || second > 60) return false;
  micros = ((hour * 60LL + minute) * 60 + second) * 1'000'000 + fraction;
  return true;
}

// "Z" or "+02:00" or "+0200"; false when malformed.
bool take_zone(std::string_view& text, std::int64_t& micros) {
  micros = 0;
  if (take_char(text, "Zz")) return true;
  const bool west = !text.empty() && text.front() == '-';
  if (!take_char(text, "+-")) return false;
  int hour = 0;
  int minute = 0;
  if (!take_number(text, 2, hour)) return false;
  take_char(text, ":");
  if (!text.empty() && !take_number(text, 2, minute)) return false;
  micros = (hour * 60LL + minute) * 60'000'000 * (west ? -1 : 1);
  return true;
}

}  // namespace

Time SystemClock::now() const {
  return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

SteadyTime SystemClock::steady() const { return std::chrono::steady_clock::now(); }

std::string format_time(Time time) {
  const std::int64_t micros = to_micros(time);
  std::int64_t days = micros / kMicrosPerDay;
  std::int64_t rest = micros % kMicrosPerDay;
  if (rest < 0) {
    rest += kMicrosPerDay;
    --days;
  }
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{days}}};
  const std::int64_t seconds = rest / 1'000'000;
  std::string text =
      fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  seconds / 3600, seconds / 60 % 60, seconds % 60);
  if (const std::int64_t fraction = rest % 1'000'000; fraction != 0) {
    std::string digits = fmt::format(".{:06}", fraction);
    digits.erase(digits.find_last_not_of('0') + 1);
    text += digits;
  }
  return text + "Z";
}

Result<Time> parse_time(std::string_view text) {
  std::string_view rest = text;
  const auto wrong = [&] {
    return invalid_argument("'" + std::string(text) +
                            "' is not a time; write 2013-04-01T05:00:00Z or 2013-04-01");
  };
  int year = 0;
  int month = 0;
  int day = 0;
  if (!take_number(rest, 4, year) || !take_char(rest, "-") || !take_number(rest, 2, month) ||
      !take_char(rest, "-") || !take_number(rest, 2, day)) {
    return wrong();
  }
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return wrong();
  std::int64_t micros = std::chrono::sys_days{date}.time_since_epoch().count() * kMicrosPerDay;
  if (!rest.empty()) {
    std::int64_t time_of_day = 0;
    if (!take_char(rest, "Tt ") || !take_time_of_day(rest, time_of_day)) return wrong();
    micros += time_of_day;
    if (!rest.empty()) {
      std::int64_t zone = 0;
      if (!take_zone(rest, zone) || !rest.empty()) return wrong();
      micros -= zone;
    }
  }
  return from_micros(micros);
}

Result<Duration> parse_duration(std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"us", 1},     {"ms", 1e3},    {"s", 1e6},        {"m", 60e6},
      {"h", 3600e6}, {"d", 86400e6}, {"w", 7 * 86400e6}};
  std::string_view rest = text;
  const bool negative = take_char(rest, "-");
  double micros = 0;
  bool any = false;
  while (!rest.empty()) {
    std::size_t used = 0;
    while (used < rest.size() &&
           (std::isdigit(static_cast<unsigned char>(rest[used])) != 0 || rest[used] == '.'))
      ++used;
    double count = 0;
    // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): it gets the end, too
    const auto [end, problem] = std::from_chars(rest.data(), rest.data() + used, count);
    if (used == 0 || problem != std::errc{} || end != rest.data() + used) break;
    std::size_t letters = 0;
    while (used + letters < rest.size() &&
           std::isalpha(static_cast<unsigned char>(rest[used + letters])) != 0)
      ++letters;
    const std::string_view unit = rest.substr(used, letters);
    const auto* known = std::find_if(std::begin(kUnits), std::end(kUnits),
                                     [&](const auto& u) { return u.first == unit; });
    if (known == std::end(kUnits)) break;
    micros += count * known->second;
    rest.remove_prefix(used + letters);
    any = true;
  }
  if (!any || !rest.empty() || !(std::abs(micros) < 9e18)) {
    return invalid_argument("'" + std::string(text) +
                            "' is not a duration; write 500ms, 90s, 15m, 6h, 7d or 1d12h");
  }
  return Duration{static_cast<std::int64_t>(negative ? -micros : micros)};
}

std::string format_duration(Duration duration) {
  const double micros = static_cast<double>(duration.count());
  const double size = std::abs(micros);
  if (size < 1e3) return fmt::format("{:.0f} us", micros);
  if (size < 1e6) return fmt::format("{:.3g} ms", micros / 1e3);
  if (size < 60e6) return fmt::format("{:.3g} s", micros / 1e6);
  const std::int64_t seconds = static_cast<std::int64_t>(std::llround(micros / 1e6));
  if (size < 3600e6) return fmt::format("{} min {} s", seconds / 60, std::abs(seconds % 60));
  if (size < 86400e6)
    return fmt::format("{} h {} min", seconds / 3600, std::abs(seconds / 60 % 60));
  if (seconds % 86400 == 0) return fmt::format("{} d", seconds / 86400);
  return fmt::format("{} d {} h", seconds / 86400, std::abs(seconds / 3600 % 24));
}

}  // namespace slipway
