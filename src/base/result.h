// Result<T>: a value or an Error. Every expected failure crosses a folder border in one of these.
//   auto version = registry.create_version("churn", spec);
//   if (!version) return version.error();
// An Error is a Code and a message that says the thing, the value seen and the value wanted.
#pragma once
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace slipway {

enum class Code {
  invalid_argument,
  unauthenticated,
  permission_denied,
  not_found,
  already_exists,
  failed_precondition,
  resource_exhausted,
  storage_full,
  unavailable,
  cancelled,
  deadline_exceeded,
  unimplemented,
  data_loss,
  internal,
};

inline constexpr Code kAllCodes[] = {
    Code::invalid_argument,   Code::unauthenticated,   Code::permission_denied,
    Code::not_found,          Code::already_exists,    Code::failed_precondition,
    Code::resource_exhausted, Code::storage_full,      Code::unavailable,
    Code::cancelled,          Code::deadline_exceeded, Code::unimplemented,
    Code::data_loss,          Code::internal};

std::string_view to_string(Code code);  // "invalid_argument"

struct Error {
  Code code = Code::internal;
  std::string message;

  // The same error with its place in front: "flights.csv:12: ...".
  Error at(std::string_view place) const { return {code, std::string(place) + ": " + message}; }
};

inline Error invalid_argument(std::string message) {
  return {Code::invalid_argument, std::move(message)};
}
inline Error unauthenticated(std::string message) {
  return {Code::unauthenticated, std::move(message)};
}
inline Error permission_denied(std::string message) {
  return {Code::permission_denied, std::move(message)};
}
inline Error not_found(std::string message) { return {Code::not_found, std::move(message)}; }
inline Error already_exists(std::string message) {
  return {Code::already_exists, std::move(message)};
}
inline Error failed_precondition(std::string message) {
  return {Code::failed_precondition, std::move(message)};
}
inline Error resource_exhausted(std::string message) {
  return {Code::resource_exhausted, std::move(message)};
}
inline Error storage_full(std::string message) { return {Code::storage_full, std::move(message)}; }
inline Error unavailable(std::string message) { return {Code::unavailable, std::move(message)}; }
inline Error cancelled(std::string message) { return {Code::cancelled, std::move(message)}; }
inline Error deadline_exceeded(std::string message) {
  return {Code::deadline_exceeded, std::move(message)};
}
inline Error unimplemented(std::string message) {
  return {Code::unimplemented, std::move(message)};
}
inline Error data_loss(std::string message) { return {Code::data_loss, std::move(message)}; }
inline Error internal(std::string message) { return {Code::internal, std::move(message)}; }

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)
  template <class U>
    requires(std::is_convertible_v<U &&, T> && !std::is_same_v<std::decay_t<U>, Result> &&
             !std::is_same_v<std::decay_t<U>, Error> && !std::is_same_v<std::decay_t<U>, T>)
  Result(U&& value)
      : state_(std::in_place_index<0>, std::forward<U>(value)) {
  }  // NOLINT(google-explicit-constructor)

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  // By value: `for (auto& row : *rows())` must not walk a value that is gone.
  T value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const { return std::get<1>(state_); }
  T value_or(T other) const& {
    if (has_value()) return value();
    return other;
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error)
      : failed_(true), error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  bool has_value() const { return !failed_; }
  explicit operator bool() const { return has_value(); }
  const Error& error() const { return error_; }

 private:
  bool failed_ = false;
  Error error_;
};

}  // namespace slipway
