#include "api/inference_inputs_internal.h"

#include <fmt/ranges.h>

#include "api/inference_internal.h"
#include "base/spec.h"

namespace slipway::api {
namespace {

constexpr std::size_t kMaxId = 256;
constexpr std::size_t kMissingNamed = 8;

}  // namespace

Result<std::int64_t> rows_of(std::span<const std::int64_t> shape) {
  const bool column = shape.size() == 1 || (shape.size() == 2 && shape[1] == 1);
  if (!column || shape[0] < 1) {
    return invalid_argument(fmt::format(
        "shape is [{}], wanted [n] or [n, 1] with n rows, at least one", fmt::join(shape, ", ")));
  }
  return shape[0];
}

Result<void> check_id(std::string_view id) {
  if (id.size() > kMaxId)
    return invalid_argument(
        fmt::format("id has {} bytes, at most {} are taken", id.size(), kMaxId));
  const auto control =
      std::ranges::find_if(id, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (control == id.end()) return {};
  return invalid_argument(
      fmt::format("id has the control character 0x{:02x} at byte {}: it names a prediction in logs "
                  "and headers, so it may have none",
                  static_cast<unsigned char>(*control), control - id.begin()));
}

Result<Output> find_output(std::span<const Output> available, std::string_view name) {
  const auto found = std::ranges::find(available, name, [](Output one) { return to_string(one); });
  if (found != available.end()) return *found;
  std::vector<std::string_view> names;
  for (const Output one : available) names.push_back(to_string(one));
  return invalid_argument(
      fmt::format("the model has no output '{}'; it has {}", name, fmt::join(names, ", ")));
}

Result<std::size_t> InputColumns::bind(std::string_view name, std::string_view datatype,
                                       std::int64_t rows) {
  const auto column = place(name);
  if (!column) {
    const auto near = nearest(name, served_.columns().names());
    return invalid_argument(
        near ? fmt::format("the model has no such input; did you mean '{}'?", *near)
             : std::string("the model has no such input; its metadata lists "
                           "them"));
  }
  if (seen_[*column]) return invalid_argument("it is there twice");
  if (rows_ != 0 && rows != rows_) {
    return invalid_argument(
        fmt::format("its shape says {} rows, an input before it {}", rows, rows_));
  }
  if (auto fits = check_datatype(datatype, served_.columns().fields[*column].type); !fits)
    return fits.error();
  rows_ = rows;
  seen_[*column] = true;
  return *column;
}

Result<void> InputColumns::finish() {
  const auto& required = served_.required(target_);
  std::vector<std::string> missing;
  for (const std::size_t column : required) {
    if (!seen_[column])
      missing.push_back(fmt::format("'{}'", served_.columns().fields[column].name));
  }
  if (!missing.empty()) {
    const std::size_t count = missing.size();
    if (count > kMissingNamed) missing.resize(kMissingNamed);
    return invalid_argument(fmt::format(
        "the request lacks {} of the model's {} inputs: {}{}; a value that is not "
        "known is sent as null",
        count, required.size(), fmt::join(missing, ", "), count > kMissingNamed ? " …" : ""));
  }
  for (std::size_t column = 0; column < seen_.size(); ++column) {
    if (seen_[column]) continue;
    for (std::int64_t row = 0; row < rows_; ++row) into_.append_null(column);
  }
  return {};
}

// Inputs mostly come in the order of the signature.
std::optional<std::size_t> InputColumns::place(std::string_view name) {
  const auto& fields = served_.columns().fields;
  if (next_ < fields.size() && fields[next_].name == name) return next_++;
  const auto found = served_.column(name);
  if (found) next_ = *found + 1;
  return found;
}

}  // namespace slipway::api
