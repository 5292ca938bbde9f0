#include "cli/version_name_internal.h"

#include <charconv>

namespace slipway::cli {

Result<registry::ModelVersion> version_named(Home& home, const std::string& text) {
  if (const auto slash = text.find('/'); slash != std::string::npos) {
    std::int64_t number = 0;
    const std::string digits = text.substr(slash + 1);
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (problem != std::errc{} || end != digits.data() + digits.size())
      return invalid_argument("'" + text +
                              "' has no version number: write MODEL/3 or MODEL@champion");
    return home.registry().version(text.substr(0, slash), number);
  }
  const auto at = text.find('@');
  return home.registry().find_by_alias(text.substr(0, at),
                                       at == std::string::npos ? "champion" : text.substr(at + 1));
}

}  // namespace slipway::cli
