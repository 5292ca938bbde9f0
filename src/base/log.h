// Structured logs: one event a line, constant text, facts as fields.
//   log::info("model loaded", {{"model", name}, {"load_ms", ms}});
// JSON lines on stderr by default; `text` on a terminal. Control characters are escaped.
// Thread-safe.
#pragma once
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace slipway::log {

enum class Level { debug, info, warn, error, off };

struct Field {
  using Value = std::variant<std::string, std::int64_t, double, bool>;
  template <class T>
  Field(std::string_view field_name, const T& field_value) : name(field_name) {
    if constexpr (std::is_same_v<T, bool>) {
      value = field_value;
    } else if constexpr (std::is_integral_v<T>) {
      value = static_cast<std::int64_t>(field_value);
    } else if constexpr (std::is_floating_point_v<T>) {
      value = static_cast<double>(field_value);
    } else {
      value = std::string(field_value);
    }
  }
  std::string_view name;
  Value value;
};
using Fields = std::initializer_list<Field>;

void set_level(Level level);
void set_text(bool text);  // human-readable instead of JSON
void debug(std::string_view event, Fields fields = {});
void info(std::string_view event, Fields fields = {});
void warn(std::string_view event, Fields fields = {});
void error(std::string_view event, Fields fields = {});

}  // namespace slipway::log
