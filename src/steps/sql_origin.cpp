// Where a text of SQL stands in a pipeline file, so that an error in it names its own line there.
#include <charconv>

#include "base/file.h"
#include "steps/ingest_internal.h"

namespace slipway::steps {
namespace {

// "p.yaml:12:5" taken apart from its end.
std::optional<data::SqlOrigin> split_place(const std::string& place, int& column) {
  const auto second = place.rfind(':');
  const auto first = second == std::string::npos ? second : place.rfind(':', second - 1);
  if (first == std::string::npos) return std::nullopt;
  data::SqlOrigin origin{.file = place.substr(0, first)};
  const auto number = [&](std::size_t from, std::size_t to, int& into) {
    return std::from_chars(place.data() + from, place.data() + to, into).ec == std::errc();
  };
  if (!number(first + 1, second, origin.line) || !number(second + 1, place.size(), column))
    return std::nullopt;
  return origin;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace

data::SqlOrigin sql_origin(const pipeline::StepConfig& config, std::string_view key) {
  int column = 1;
  const auto place = config.place(key);
  auto origin = split_place(place, column);
  const auto text = origin ? read_file(origin->file) : Result<std::string>(not_found(""));
  if (!text) return {.file = place, .exact = false};
  const auto lines = lines_of(*text);
  const auto at = static_cast<std::size_t>(origin->line - 1);
  if (at >= lines.size() || column < 1 || static_cast<std::size_t>(column) > lines[at].size() + 1)
    return {.file = place, .exact = false};
  // The place may be of the key or of its value.
  auto value = std::string_view(lines[at]).substr(static_cast<std::size_t>(column - 1));
  if (value.starts_with(std::string(key) + ":")) {
    value.remove_prefix(key.size() + 1);
    value.remove_prefix(std::min(value.size(), value.find_first_not_of(' ')));
  }
  const auto begin = static_cast<int>(lines[at].size() - value.size());
  if (value.starts_with('|')) {  // a block: its lines follow, indented alike
    for (auto next = at + 1; next < lines.size(); ++next) {
      const auto indent = lines[next].find_first_not_of(' ');
      if (indent == std::string::npos) continue;
      origin->line = static_cast<int>(at) + 2;
      origin->indent = static_cast<int>(indent);
      return *origin;
    }
  }
  const bool plain = !value.empty() && value.find_first_of("|>'\"&*!{[") != 0;
  if (!plain) return {.file = place, .exact = false};
  origin->indent = begin;
  return *origin;
}

}  // namespace slipway::steps
