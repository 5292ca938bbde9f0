// Self-contained HTML pages: no scripts, nothing from elsewhere, everything from data escaped.
// Private to this folder.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace slipway::data::html {

// Pages stop adding rows at this size, and say how many are left.
inline constexpr std::size_t kMostBytes = 700'000;

// Safe between tags and inside quoted attributes; bytes that are no UTF-8 become U+FFFD, control
// characters their pictures.
std::string escape(std::string_view text);
// At most so many characters, escaped, with the whole text as a tooltip where it was cut (itself
// cut at 500).
std::string clipped(std::string_view text, std::size_t limit);
// A document around the body; the title is escaped here.
std::string page(std::string_view title, std::string_view body);
// A row of numbers with their names: {"rows", "3,367,760"}, … Values are escaped here.
struct Tile {
  std::string name, value, kind;  // kind: "", "good", "bad", "warn"
};
std::string tiles(const std::vector<Tile>& list);
// Bars of heights in proportion to the counts, as SVG; labels are tooltips.
std::string bars(const std::vector<std::int64_t>& counts, const std::vector<std::string>& labels);
// "3,367,760"
std::string grouped(std::int64_t number);

}  // namespace slipway::data::html
