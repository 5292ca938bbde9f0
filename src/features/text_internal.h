// Texts as features see them: words and characters of Unicode (utf8proc), whose tables are linked
// into the program, so that the same text has the same words on every machine.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "features/spec.h"

namespace slipway::features {

// Appends `text` in lower (or upper) case, one code point for one; bytes that are not UTF-8 stay.
void append_cased(std::string& out, std::string_view text, bool lower);
std::string_view trimmed(std::string_view text);  // without spaces and line ends around it
std::size_t code_points(std::string_view text);

// MurmurHash3_x86_32 (A. Appleby, public domain algorithm), as scikit-learn's hashers use it.
std::uint32_t murmur3(std::string_view bytes, std::uint32_t seed = 0);

// Works in memory that it keeps: one per thread.
class TermFinder {
 public:
  // Calls take(term) for every term of the text, in order; a term is valid during its call.
  template <class Take>
  void each(const Analyzer& analyzer, std::string_view text, Take take) {
    split(analyzer, text);
    for (std::size_t size = analyzer.least; size <= analyzer.most; ++size) {
      for (const Run& run : runs_) {
        if (run.count < size) {
          if (analyzer.unit == Analyzer::Unit::chars_in_words && run.count > 0 &&
              size == analyzer.least)
            take(piece(run.begin, run.count));  // a short word is a term of its own
          continue;
        }
        for (std::size_t i = 0; i + size <= run.count; ++i) take(piece(run.begin + i, size));
      }
    }
  }

 private:
  struct Run {  // consecutive units
    std::size_t begin = 0;
    std::size_t count = 0;
  };
  void split(const Analyzer& analyzer, std::string_view text);
  std::string_view piece(std::size_t first, std::size_t count);
  std::string text_;                   // in lower case where wanted
  std::vector<std::uint32_t> begins_;  // of each unit in text_
  std::vector<std::uint32_t> ends_;
  std::vector<Run> runs_;
  std::string joined_;
  bool joins_ = false;  // units are words, with one blank between those of a term
};

}  // namespace slipway::features
