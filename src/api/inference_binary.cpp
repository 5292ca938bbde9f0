#include <bit>

#include "api/inference_internal.h"

namespace slipway::api {
namespace {

static_assert(std::endian::native == std::endian::little, "the binary extension is little-endian");

template <class T, class F>
Result<void> each(std::string_view bytes, std::int64_t rows, F&& append) {
  const std::size_t wanted = static_cast<std::size_t>(rows) * sizeof(T);
  // By division, too: a product of a huge count of rows may overflow.
  if (bytes.size() != wanted || bytes.size() / sizeof(T) != static_cast<std::size_t>(rows)) {
    return invalid_argument(
        fmt::format("{} values of its datatype take {} bytes each, {} bytes came", rows, sizeof(T),
                    bytes.size()));
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    T value;
    std::memcpy(&value, bytes.data() + static_cast<std::size_t>(row) * sizeof(T), sizeof(T));
    if (auto appended = append(value); !appended) return appended;
  }
  return {};
}

Result<void> append_number(std::int64_t value, std::size_t column, data::BatchBuilder& into) {
  if (into.schema().fields[column].type == data::Type::float64) {
    into.append_real(column, static_cast<double>(value));
  } else {
    into.append_integer(column, value);
  }
  return {};
}

Result<void> append_number(double value, std::size_t column, data::BatchBuilder& into) {
  if (std::isnan(value)) {
    into.append_null(column);  // the binary form's only way to say "missing"
    return {};
  }
  if (into.schema().fields[column].type == data::Type::float64) {
    into.append_real(column, value);
    return {};
  }
  if (value != std::floor(value) || std::abs(value) > 9007199254740992.0) {
    return invalid_argument(fmt::format("{} is not an integer, which this column holds", value));
  }
  into.append_integer(column, static_cast<std::int64_t>(value));
  return {};
}

template <class T>
Result<void> numbers(std::string_view bytes, std::int64_t rows, std::size_t column,
                     data::BatchBuilder& into) {
  return each<T>(bytes, rows, [&](T value) -> Result<void> {
    if constexpr (std::is_floating_point_v<T>) {
      return append_number(static_cast<double>(value), column, into);
    } else {
      if constexpr (sizeof(T) == 8 && std::is_unsigned_v<T>) {
        if (value > static_cast<T>(std::numeric_limits<std::int64_t>::max())) {
          return invalid_argument(fmt::format("{} is larger than a 64-bit integer", value));
        }
      }
      return append_number(static_cast<std::int64_t>(value), column, into);
    }
  });
}

// IEEE 754 binary16, and the upper half of a binary32: exact as a double.
double from_half(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1F;
  const double fraction = bits & 0x3FF;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  if (exponent == 0x1F) {
    return fraction != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  return sign * std::ldexp(1024.0 + fraction, exponent - 25);
}

double from_bfloat(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

Result<void> halves(std::string_view bytes, std::int64_t rows, std::size_t column,
                    data::BatchBuilder& into, double (*widen)(std::uint16_t)) {
  return each<std::uint16_t>(
      bytes, rows, [&](std::uint16_t bits) { return append_number(widen(bits), column, into); });
}

Result<void> texts(std::string_view bytes, std::int64_t rows, std::size_t column,
                   data::BatchBuilder& into) {
  for (std::int64_t row = 0; row < rows; ++row) {
    std::uint32_t length = 0;
    if (bytes.size() >= sizeof length) std::memcpy(&length, bytes.data(), sizeof length);
    if (bytes.size() < sizeof length || bytes.size() - sizeof length < length) {
      return invalid_argument(
          fmt::format("the binary data ends inside element {} of {}", row, rows));
    }
    const std::string_view text = bytes.substr(sizeof length, length);
    bytes.remove_prefix(sizeof length + length);
    if (into.schema().fields[column].type == data::Type::text) {
      into.append_text(column, text);
      continue;
    }
    auto time = parse_time(text);
    if (!time) return time.error();
    into.append_integer(column, to_micros(*time));
  }
  if (!bytes.empty())
    return invalid_argument(
        fmt::format("{} bytes are left behind the last of {} elements", bytes.size(), rows));
  return {};
}

}  // namespace

Result<void> check_datatype(std::string_view datatype, data::Type type) {
  constexpr std::array<std::string_view, 12> numeric = {"FP64",   "FP32",  "INT64",  "INT32",
                                                        "INT16",  "INT8",  "UINT64", "UINT32",
                                                        "UINT16", "UINT8", "FP16",   "BF16"};
  const bool number = std::ranges::find(numeric, datatype) != numeric.end();
  const bool known = number || datatype == "BYTES" || datatype == "BOOL";
  bool fits = false;
  switch (type) {
    case data::Type::boolean:
      fits = datatype == "BOOL";
      break;
    case data::Type::int64:
    case data::Type::float64:
      fits = number;
      break;
    case data::Type::text:
    case data::Type::timestamp:
      fits = datatype == "BYTES";
      break;
  }
  if (fits) return {};
  return invalid_argument(fmt::format(
      "datatype is {}'{}', the model takes {}{}", known ? "" : "the unknown ", datatype,
      datatype_of(type), type == data::Type::timestamp ? " with times as in RFC 3339" : ""));
}

Result<void> read_binary(std::string_view datatype, std::string_view bytes, std::int64_t rows,
                         std::size_t column, data::BatchBuilder& into) {
  if (datatype == "FP64") return numbers<double>(bytes, rows, column, into);
  if (datatype == "FP32") return numbers<float>(bytes, rows, column, into);
  if (datatype == "INT64") return numbers<std::int64_t>(bytes, rows, column, into);
  if (datatype == "INT32") return numbers<std::int32_t>(bytes, rows, column, into);
  if (datatype == "INT16") return numbers<std::int16_t>(bytes, rows, column, into);
  if (datatype == "INT8") return numbers<std::int8_t>(bytes, rows, column, into);
  if (datatype == "UINT64") return numbers<std::uint64_t>(bytes, rows, column, into);
  if (datatype == "UINT32") return numbers<std::uint32_t>(bytes, rows, column, into);
  if (datatype == "UINT16") return numbers<std::uint16_t>(bytes, rows, column, into);
  if (datatype == "UINT8") return numbers<std::uint8_t>(bytes, rows, column, into);
  if (datatype == "FP16") return halves(bytes, rows, column, into, &from_half);
  if (datatype == "BF16") return halves(bytes, rows, column, into, &from_bfloat);
  if (datatype == "BOOL") {
    return each<std::uint8_t>(bytes, rows, [&](std::uint8_t value) -> Result<void> {
      into.append_boolean(column, value != 0);
      return {};
    });
  }
  return texts(bytes, rows, column, into);
}

}  // namespace slipway::api
