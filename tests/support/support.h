// What unit tests share: a readable check of Results, scratch folders, a fixed time.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/file.h"
#include "base/result.h"

namespace slipway::test {

// EXPECT_TRUE(ok(result)) prints the error when it is not.
struct Outcome {
  bool good;
  std::string message;
  explicit operator bool() const { return good; }
};
template <class Stream>
Stream& operator<<(Stream& stream, const Outcome& outcome) {
  stream << outcome.message;
  return stream;
}
template <class T>
Outcome ok(const Result<T>& result) {
  if (result) return {true, ""};
  return {false, std::string(to_string(result.error().code)) + ": " + result.error().message};
}
// The error's code, or nothing that equals a code when it succeeded: EXPECT_EQ(code_of(result),
// Code::not_found).
template <class T>
std::string code_of(const Result<T>& result) {
  return result ? "ok" : std::string(to_string(result.error().code));
}
template <class T>
bool failed_with(const Result<T>& result, Code code) {
  return !result && result.error().code == code;
}
template <class T>
std::string message_of(const Result<T>& result) {
  return result ? "" : result.error().message;
}

// A folder of the test's own under the system's temporary folder; removed at the end.
class Scratch {
 public:
  Scratch();
  const std::filesystem::path& path() const { return dir_.path(); }
  std::filesystem::path operator/(std::string_view name) const { return dir_.path() / name; }
  // Writes a file and returns its path.
  std::filesystem::path file(std::string_view name, std::string_view bytes) const;

 private:
  TempDir dir_;
};

inline constexpr Time kNoon2013 = Time{Duration{1'364'817'600'000'000}};  // 2013-04-01T12:00:00Z

}  // namespace slipway::test
