#include "base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace slipway::log {
namespace {

// Set once at start. NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<Level> g_level{Level::info};
std::atomic<bool> g_text{false};
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

spdlog::logger& sink() {
  static spdlog::logger logger = [] {
    spdlog::logger made("slipway", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("%v");
    made.set_level(spdlog::level::trace);
    made.flush_on(spdlog::level::trace);
    return made;
  }();
  return logger;
}

nlohmann::json to_json(const Field::Value& value) {
  return std::visit([](const auto& v) { return nlohmann::json(v); }, value);
}

std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

void write(Level level, std::string_view name, std::string_view event, Fields fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  const std::string time = format_time(SystemClock().now());
  if (g_text) {
    std::string line = fmt::format("{} {:5} {}", time, name, event);
    for (const Field& field : fields)
      line += fmt::format(" {}={}", field.name, dump(to_json(field.value)));
    sink().info("{}", line);
    return;
  }
  nlohmann::ordered_json line{{"time", time}, {"level", name}, {"event", event}};
  for (const Field& field : fields) line[std::string(field.name)] = to_json(field.value);
  sink().info("{}", line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

}  // namespace

void set_level(Level level) { g_level = level; }
void set_text(bool text) { g_text = text; }
void debug(std::string_view event, Fields fields) { write(Level::debug, "debug", event, fields); }
void info(std::string_view event, Fields fields) { write(Level::info, "info", event, fields); }
void warn(std::string_view event, Fields fields) { write(Level::warn, "warn", event, fields); }
void error(std::string_view event, Fields fields) { write(Level::error, "error", event, fields); }

}  // namespace slipway::log
