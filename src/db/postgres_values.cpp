#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "db/postgres_internal.h"

namespace slipway::db {
namespace {

// Types by their object identifiers: src/include/catalog/pg_type.dat of PostgreSQL.
constexpr Oid kBool = 16;
constexpr Oid kBytea = 17;
constexpr Oid kInt8 = 20;
constexpr Oid kInt2 = 21;
constexpr Oid kInt4 = 23;
constexpr Oid kText = 25;
constexpr Oid kOid = 26;
constexpr Oid kFloat4 = 700;
constexpr Oid kFloat8 = 701;
constexpr Oid kNumeric = 1700;

template <class T>
T from_network(const char* bytes) {
  T number;
  std::memcpy(&number, bytes, sizeof number);
  if constexpr (sizeof(T) == 2)
    return static_cast<T>(__builtin_bswap16(static_cast<std::uint16_t>(number)));
  if constexpr (sizeof(T) == 4)
    return static_cast<T>(__builtin_bswap32(static_cast<std::uint32_t>(number)));
  if constexpr (sizeof(T) == 8)
    return static_cast<T>(__builtin_bswap64(static_cast<std::uint64_t>(number)));
}

std::array<char, 8> to_network(std::uint64_t number) {
  return std::bit_cast<std::array<char, 8>>(__builtin_bswap64(number));
}

// What sum() and avg() give: base-10,000 digits, the first one worth 10,000^weight.
double from_numeric(const char* bytes) {
  const auto digits = from_network<std::int16_t>(bytes);
  const auto weight = from_network<std::int16_t>(bytes + 2);
  const auto sign = from_network<std::uint16_t>(bytes + 4);
  if (sign == 0xC000) return std::nan("");
  if (sign == 0xD000 || sign == 0xF000) return sign == 0xD000 ? HUGE_VAL : -HUGE_VAL;
  double value = 0;
  for (int i = 0; i < digits; ++i)
    value = value * 10'000 + from_network<std::int16_t>(bytes + 8 + 2 * i);
  value *= std::pow(10'000.0, weight - digits + 1);
  return sign == 0x4000 ? -value : value;
}

class PostgresCursor final : public Cursor {
 public:
  explicit PostgresCursor(ResultPtr result) : result_(std::move(result)) {}

  bool next() override { return ++row_ < PQntuples(result_.get()); }
  Result<void> status() const override { return {}; }
  bool is_null(int column) const override { return PQgetisnull(result_.get(), row_, column) != 0; }

  std::int64_t integer(int column) const override {
    if (is_null(column)) return 0;
    const char* bytes = PQgetvalue(result_.get(), row_, column);
    switch (PQftype(result_.get(), column)) {
      case kInt8:
        return from_network<std::int64_t>(bytes);
      case kInt4:
        return from_network<std::int32_t>(bytes);
      case kOid:
        return from_network<std::uint32_t>(bytes);
      case kInt2:
        return from_network<std::int16_t>(bytes);
      case kBool:
        return *bytes;
      case kNumeric:
      case kFloat4:
      case kFloat8:
        return static_cast<std::int64_t>(real(column));
      default: {
        const std::string_view text = raw(column);
        std::int64_t number = 0;
        std::from_chars(text.data(), text.data() + text.size(), number);
        return number;
      }
    }
  }

  double real(int column) const override {
    if (is_null(column)) return 0;
    const char* bytes = PQgetvalue(result_.get(), row_, column);
    switch (PQftype(result_.get(), column)) {
      case kFloat8:
        return std::bit_cast<double>(from_network<std::uint64_t>(bytes));
      case kFloat4:
        return std::bit_cast<float>(from_network<std::uint32_t>(bytes));
      case kNumeric:
        return from_numeric(bytes);
      case kInt8:
      case kInt4:
      case kInt2:
      case kOid:
      case kBool:
        return static_cast<double>(integer(column));
      default: {
        const std::string_view text = raw(column);
        double number = 0;
        std::from_chars(text.data(), text.data() + text.size(), number);
        return number;
      }
    }
  }

  std::string_view view(int column) const override {
    if (is_null(column)) return {};
    switch (PQftype(result_.get(), column)) {
      case kInt8:
      case kInt4:
      case kInt2:
      case kOid:
      case kBool:
        return shown_.emplace_back(std::to_string(integer(column)));
      case kFloat4:
      case kFloat8:
      case kNumeric:
        return shown_.emplace_back(fmt::format("{}", real(column)));
      default:
        return raw(column);
    }
  }

 private:
  std::string_view raw(int column) const {
    return {PQgetvalue(result_.get(), row_, column),
            static_cast<std::size_t>(PQgetlength(result_.get(), row_, column))};
  }

  ResultPtr result_;
  int row_ = -1;
  mutable std::deque<std::string> shown_;  // numbers that were asked for as texts
};

}  // namespace

Result<Parameters> Parameters::of(std::span<const Value> values, std::span<const int> patterns,
                                  std::span<const int> lists) {
  Parameters parameters;
  const std::size_t count = values.size();
  parameters.types_.resize(count);
  parameters.pointers_.resize(count);
  parameters.lengths_.resize(count);
  parameters.formats_.assign(count, 1);
  parameters.numbers_ = std::make_unique<std::array<char, 8>[]>(count);
  parameters.texts_.reserve(patterns.size());
  const auto is_among = [](std::span<const int> numbers, std::size_t i) {
    return std::ranges::find(numbers, static_cast<int>(i) + 1) != numbers.end();
  };
  for (std::size_t i = 0; i < count; ++i) {
    const Value& value = values[i];
    const auto put_number = [&](Oid type, std::uint64_t bits) {
      parameters.numbers_[i] = to_network(bits);
      parameters.types_[i] = type;
      parameters.pointers_[i] = parameters.numbers_[i].data();
      parameters.lengths_[i] = 8;
    };
    const auto put_text = [&](Oid type, std::string_view text) {
      parameters.types_[i] = type;
      parameters.pointers_[i] = text.data() == nullptr ? "" : text.data();
      parameters.lengths_[i] = static_cast<int>(text.size());
    };
    switch (value.kind) {
      case Value::Kind::null:
        // Type 0: what the statement makes of it. A list that is empty is in no statement.
        if (is_among(lists, i)) parameters.types_[i] = kText;
        break;
      case Value::Kind::integer:
        put_number(kInt8, static_cast<std::uint64_t>(value.integer));
        break;
      case Value::Kind::real:
        // As SQLite stores it.
        if (!std::isnan(value.real)) put_number(kFloat8, std::bit_cast<std::uint64_t>(value.real));
        break;
      case Value::Kind::blob:
        put_text(kBytea, value.text);
        break;
      case Value::Kind::text: {
        std::string_view text = value.text;
        if (is_among(patterns, i)) {
          auto like = glob_to_like(text);
          if (!like) return like.error();
          text = parameters.texts_.emplace_back(*std::move(like));
        }
        put_text(kText, text);
        break;
      }
    }
  }
  return parameters;
}

std::string quote_name(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

std::unique_ptr<Cursor> make_cursor(ResultPtr result) {
  return std::make_unique<PostgresCursor>(std::move(result));
}

Error postgres_error(const PGresult* result, std::string_view doing) {
  const char* field = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string_view state = field == nullptr ? "" : field;
  const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const std::string message =
      fmt::format("{}: {}{}", doing, primary == nullptr ? "the database gave no reason" : primary,
                  state.empty() ? "" : fmt::format(" (SQLSTATE {})", state));
  if (state == "23505") return already_exists(message);
  if (state == "57014") return deadline_exceeded(message);
  if (state == "53100")
    return storage_full(message + ": make room, and writes go on by themselves");
  if (state == "42501") return permission_denied(message);
  if (state == "22021" || state == "22P05" || state == "54000") return invalid_argument(message);
  if (state == "3D000") return not_found(message);
  if (state == "25P02") return internal(message);  // a body that went on after a failure
  const std::string_view family = state.substr(0, std::min<std::size_t>(2, state.size()));
  if (family == "23") return failed_precondition(message);
  if (family == "28") return unauthenticated(message);
  if (family == "XX") return data_loss(message);
  // Locks, conflicts, servers that stop, start, are full or stand by: it may heal.
  for (const std::string_view healing : {"08", "25", "40", "53", "55", "57"}) {
    if (family == healing) return unavailable(message);
  }
  return internal(message);
}

std::shared_ptr<const Catalog> SharedCatalog::get() const {
  const std::scoped_lock lock(mutex_);
  return catalog_;
}

void SharedCatalog::set(std::shared_ptr<const Catalog> catalog) {
  const std::scoped_lock lock(mutex_);
  catalog_ = std::move(catalog);
}

}  // namespace slipway::db
