// A strict JSON reader (RFC 8259) for hot paths: walks the text once, in place, and copies only
// strings with escapes.
//   JsonCursor json(text, 32);
//   if (json.begin_object()) for (std::string_view key; json.next_key(key);) …read or skip each
//   value… if (!json.finish()) return json.error();
// (simdjson would be faster still, but Arrow's libraries export the symbols of a version of their
// own, and one process cannot hold both.) A problem is noted once, with its place; afterwards every
// call says no, so that loops end. Not thread-safe.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway::api {

class JsonCursor {
 public:
  enum class Kind : std::uint8_t { object, array, string, number, boolean, null, none };
  struct Number {
    bool is_integer = false;  // written as one, and fits 64 bits
    std::int64_t integer = 0;
    double real = 0;  // always set
  };

  // The text outlives the cursor. Deeper nesting is a problem.
  JsonCursor(std::string_view text, int max_depth) : text_(text), max_depth_(max_depth) {}

  // Of the value the cursor stands at, by its first character; none is a problem.
  Kind kind();
  // Containers: begin, then next_… until it says no, reading or skipping one value after each yes.
  bool begin_object();
  bool next_key(std::string_view& key);  // the key is valid until the next string is read
  bool begin_array();
  bool next_item();
  // Values; false when it is another kind (a problem) or malformed.
  bool read_string(std::string_view& value);  // valid until the next string is read
  bool read_number(Number& value);
  bool read_boolean(bool& value);
  bool read_null();
  bool skip();  // any value, checked like the others
  // Skips a value and gives its text.
  std::string_view take();
  // Only white space is left.
  bool finish();

  bool ok() const { return problem_.empty(); }
  Error error() const { return invalid_argument(problem_); }

 private:
  void space();
  bool expect(char c, std::string_view what);
  bool open(char c, std::string_view what);
  bool next(char close, std::string_view what);
  bool literal(std::string_view word);
  bool escape();
  bool problem(std::string_view what);

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int max_depth_;
  bool first_ = false;  // the container was just opened
  std::string decoded_;
  std::string problem_;
};

}  // namespace slipway::api
