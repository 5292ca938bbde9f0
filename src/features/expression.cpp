// Runs the nodes of an expression over a block of rows, one node after the other. Each row's value
// depends on that row alone and is computed by the same scalar functions wherever it stands.
#include <utf8proc.h>

#include <charconv>
#include <cmath>

#include "features/calendar_internal.h"
#include "features/expression_internal.h"
#include "features/stage_internal.h"
#include "features/text_internal.h"

namespace slipway::features {
namespace {

double finite_or_missing(double value) { return std::isfinite(value) ? value : kMissing; }

double floor_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double kleene_and(double a, double b) {
  if (a == 0 || b == 0) return 0;
  return std::isnan(a) || std::isnan(b) ? kMissing : 1;
}
double kleene_or(double a, double b) {
  if ((a != 0 && !std::isnan(a)) || (b != 0 && !std::isnan(b))) return 1;
  return std::isnan(a) || std::isnan(b) ? kMissing : 0;
}

template <class Compare>
double compared(double a, double b, Compare compare) {
  return std::isnan(a) || std::isnan(b) ? kMissing : (compare(a, b) ? 1 : 0);
}

double apply_unary(Op op, double a) {
  switch (op) {
    case Op::negate:
      return -a;
    case Op::logical_not:
      return std::isnan(a) ? a : (a == 0 ? 1 : 0);
    case Op::is_missing:
      return std::isnan(a) ? 1 : 0;
    case Op::abs:
      return std::abs(a);
    case Op::sqrt:
      return std::sqrt(a);
    case Op::exp:
      return std::exp(a);
    case Op::log:
      return std::log(a);
    case Op::log1p:
      return std::log1p(a);
    case Op::log2:
      return std::log2(a);
    case Op::log10:
      return std::log10(a);
    case Op::sin:
      return std::sin(a);
    case Op::cos:
      return std::cos(a);
    case Op::floor:
      return std::floor(a);
    case Op::ceil:
      return std::ceil(a);
    case Op::round:
      return std::round(a);
    case Op::sign:
      return std::isnan(a) ? a : (a > 0 ? 1 : (a < 0 ? -1 : 0));
    default:
      return kMissing;
  }
}

double apply_binary(Op op, double a, double b) {
  switch (op) {
    case Op::add:
      return a + b;
    case Op::subtract:
      return a - b;
    case Op::multiply:
      return a * b;
    case Op::divide:
      return a / b;
    case Op::modulo:
      return floor_modulo(a, b);
    case Op::power:
      return std::isnan(a) || std::isnan(b) ? kMissing : std::pow(a, b);
    case Op::less:
      return compared(a, b, std::less<>());
    case Op::less_equal:
      return compared(a, b, std::less_equal<>());
    case Op::greater:
      return compared(a, b, std::greater<>());
    case Op::greater_equal:
      return compared(a, b, std::greater_equal<>());
    case Op::equal:
      return compared(a, b, std::equal_to<>());
    case Op::not_equal:
      return compared(a, b, std::not_equal_to<>());
    case Op::logical_and:
      return kleene_and(a, b);
    case Op::logical_or:
      return kleene_or(a, b);
    default:
      return kMissing;
  }
}

double part_of(Op op, std::int64_t micros) {
  if (op == Op::seconds) return static_cast<double>(micros) / 1e6;
  const Calendar time = calendar_of(micros, 0);
  switch (op) {
    case Op::hour:
      return time.hour;
    case Op::dow:
      return time.dow;
    case Op::day:
      return time.day;
    case Op::month:
      return time.month;
    default:
      return static_cast<double>(time.year);
  }
}

// The numbers of a column as features read them: nothing infinite.
double number_at(const data::ColumnView& column, std::int64_t row) {
  if (column.is_null(row)) return kMissing;
  switch (column.type) {
    case data::Type::float64:
      return finite_or_missing(column.real(row));
    case data::Type::boolean:
      return column.boolean(row) ? 1 : 0;
    case data::Type::int64:
    case data::Type::timestamp:
      return static_cast<double>(column.integer(row));
    case data::Type::text:
      break;
  }
  return kMissing;
}

double parse_number(std::string_view text) {
  text = trimmed(text);
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && stop == text.data() + text.size() ? finite_or_missing(value)
                                                                   : kMissing;
}

void append_escaped(std::string& out, std::string_view part) {
  for (const char c : part) {
    if (c == '|' || c == '\\') out += '\\';
    out += c;
  }
}

// `count` code points from the one numbered `from`, which is 1 for the first.
std::string_view slice_text(std::string_view text, double from, double count) {
  std::size_t begin = 0;
  double number = 1;
  const auto step = [&](std::size_t at) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    return at;
  };
  while (begin < text.size() && number < from) {
    begin = step(begin);
    ++number;
  }
  std::size_t end = begin;
  while (end < text.size() && number < from + count) {
    end = step(end);
    ++number;
  }
  return text.substr(begin, end - begin);
}

}  // namespace

std::span<double> ExpressionScratch::numbers(std::size_t slot) {
  if (numbers_.size() <= slot) numbers_.resize(slot + 1);
  return numbers_[slot];
}
std::span<TextCell> ExpressionScratch::texts(std::size_t slot) {
  if (texts_.size() <= slot) texts_.resize(slot + 1);
  return texts_[slot];
}
std::string& ExpressionScratch::keep() {
  if (used_ == kept_.size()) kept_.emplace_back();
  std::string& text = kept_[used_++];
  text.clear();
  return text;
}

data::ColumnView DerivedValues::view(data::Type type, std::int64_t rows) const {
  data::ColumnView view;
  view.type = type;
  view.rows = rows;
  if (type == data::Type::text) {
    view.validity = validity.data();
    view.text_offsets = offsets.data();
    view.text_bytes = bytes.data();
  } else {
    view.values = numbers.data();  // missing is NaN
  }
  return view;
}

void Expression::run(const Node& node, std::size_t slot, std::span<const data::ColumnView> columns,
                     std::int64_t begin, std::size_t rows, ExpressionScratch& scratch) const {
  const auto out = scratch.numbers(slot).first(rows);
  const auto numbers = [&](std::int32_t of) {
    return scratch.numbers(static_cast<std::size_t>(of)).first(rows);
  };
  const auto texts = [&](std::int32_t of) {
    return scratch.texts(static_cast<std::size_t>(of)).first(rows);
  };
  const auto column_row = [&](std::size_t i) { return begin + static_cast<std::int64_t>(i); };
  switch (node.op) {
    case Op::number:
      std::fill(out.begin(), out.end(), node.number);
      return;
    case Op::column_number:
      for (std::size_t i = 0; i < rows; ++i)
        out[i] = number_at(columns[node.column], column_row(i));
      return;
    case Op::column_time:  // read by what stands above; here only whether it is there
      for (std::size_t i = 0; i < rows; ++i)
        out[i] = columns[node.column].is_null(column_row(i)) ? kMissing : 0;
      return;
    case Op::seconds:
    case Op::hour:
    case Op::dow:
    case Op::day:
    case Op::month:
    case Op::year: {
      const auto& column = columns[nodes_[static_cast<std::size_t>(node.of[0])].column];
      for (std::size_t i = 0; i < rows; ++i) {
        const std::int64_t row = column_row(i);
        out[i] = column.is_null(row) ? kMissing : part_of(node.op, column.integer(row));
      }
      return;
    }
    case Op::choose: {
      const auto condition = numbers(node.of[0]);
      const auto then = numbers(node.of[1]);
      const auto otherwise = numbers(node.of[2]);
      for (std::size_t i = 0; i < rows; ++i)
        out[i] = std::isnan(condition[i]) ? kMissing : (condition[i] != 0 ? then[i] : otherwise[i]);
      return;
    }
    case Op::clip: {
      const auto value = numbers(node.of[0]);
      const auto low = numbers(node.of[1]);
      const auto high = numbers(node.of[2]);
      for (std::size_t i = 0; i < rows; ++i) {
        out[i] = std::isnan(low[i]) || std::isnan(high[i])
                     ? kMissing
                     : (value[i] < low[i] ? low[i] : (value[i] > high[i] ? high[i] : value[i]));
      }
      return;
    }
    case Op::coalesce:
    case Op::least:
    case Op::greatest:
      std::copy_n(numbers(node.more[0]).begin(), rows, out.begin());
      for (std::size_t k = 1; k < node.more.size(); ++k) {
        const auto next = numbers(node.more[k]);
        for (std::size_t i = 0; i < rows; ++i) {
          const double a = out[i];
          const double b = next[i];
          if (node.op == Op::coalesce) {
            out[i] = std::isnan(a) ? b : a;
          } else if (std::isnan(a) || std::isnan(b)) {
            out[i] = kMissing;
          } else {
            out[i] = (node.op == Op::least) == (b < a) ? b : a;
          }
        }
      }
      return;
    case Op::text_is_missing: {
      const auto a = texts(node.of[0]);
      for (std::size_t i = 0; i < rows; ++i) out[i] = a[i].missing ? 1 : 0;
      return;
    }
    case Op::length:
    case Op::to_number: {
      const auto a = texts(node.of[0]);
      for (std::size_t i = 0; i < rows; ++i) {
        out[i] = a[i].missing               ? kMissing
                 : node.op == Op::to_number ? parse_number(a[i].text)
                                            : static_cast<double>(code_points(a[i].text));
      }
      return;
    }
    case Op::text_equal:
    case Op::text_not_equal:
    case Op::starts_with:
    case Op::ends_with:
    case Op::contains: {
      const auto a = texts(node.of[0]);
      const auto b = texts(node.of[1]);
      for (std::size_t i = 0; i < rows; ++i) {
        const bool yes = node.op == Op::text_equal       ? a[i].text == b[i].text
                         : node.op == Op::text_not_equal ? a[i].text != b[i].text
                         : node.op == Op::starts_with    ? a[i].text.starts_with(b[i].text)
                         : node.op == Op::ends_with
                             ? a[i].text.ends_with(b[i].text)
                             : a[i].text.find(b[i].text) != std::string_view::npos;
        out[i] = a[i].missing || b[i].missing ? kMissing : (yes ? 1 : 0);
      }
      return;
    }
    default:
      break;
  }
  const auto a = numbers(node.of[0]);
  if (node.of[1] < 0) {
    for (std::size_t i = 0; i < rows; ++i) out[i] = finite_or_missing(apply_unary(node.op, a[i]));
    return;
  }
  const auto b = numbers(node.of[1]);
  for (std::size_t i = 0; i < rows; ++i)
    out[i] = finite_or_missing(apply_binary(node.op, a[i], b[i]));
}

void Expression::run_text(const Node& node, std::size_t slot,
                          std::span<const data::ColumnView> columns, std::int64_t begin,
                          std::size_t rows, ExpressionScratch& scratch) const {
  const auto out = scratch.texts(slot).first(rows);
  const auto numbers = [&](std::int32_t of) {
    return scratch.numbers(static_cast<std::size_t>(of)).first(rows);
  };
  const auto texts = [&](std::int32_t of) {
    return scratch.texts(static_cast<std::size_t>(of)).first(rows);
  };
  for (std::size_t i = 0; i < rows; ++i) {
    TextCell& cell = out[i];
    cell = {};
    switch (node.op) {
      case Op::constant_text:
        cell = {node.constant, false};
        break;
      case Op::column_text: {
        const std::int64_t row = begin + static_cast<std::int64_t>(i);
        if (!columns[node.column].is_null(row)) cell = {columns[node.column].text(row), false};
        break;
      }
      case Op::choose_text: {
        const double condition = numbers(node.of[0])[i];
        if (!std::isnan(condition)) cell = texts(condition != 0 ? node.of[1] : node.of[2])[i];
        break;
      }
      case Op::coalesce_text:
        for (const std::int32_t of : node.more) {
          if (!cell.missing) break;
          cell = texts(of)[i];
        }
        break;
      case Op::lower:
      case Op::upper: {
        const TextCell from = texts(node.of[0])[i];
        if (from.missing) break;
        std::string& text = scratch.keep();
        append_cased(text, from.text, node.op == Op::lower);
        cell = {text, false};
        break;
      }
      case Op::trim: {
        const TextCell from = texts(node.of[0])[i];
        if (!from.missing) cell = {trimmed(from.text), false};
        break;
      }
      case Op::substring: {
        const TextCell from = texts(node.of[0])[i];
        const double first = numbers(node.of[1])[i];
        const double count = node.of[2] < 0 ? 1e18 : numbers(node.of[2])[i];
        if (from.missing || std::isnan(first) || std::isnan(count)) break;
        cell = {slice_text(from.text, first, count), false};
        break;
      }
      case Op::to_text: {
        const double value = numbers(node.of[0])[i];
        if (std::isnan(value)) break;
        std::string& text = scratch.keep();
        std::array<char, 32> buffer;
        const auto [end, error] =
            std::to_chars(buffer.data(), buffer.data() + buffer.size(), value == 0 ? 0.0 : value);
        if (error == std::errc{}) text.assign(buffer.data(), end);
        cell = {text, false};
        break;
      }
      case Op::concat:
      case Op::cross: {
        if (std::any_of(node.more.begin(), node.more.end(),
                        [&](std::int32_t of) { return texts(of)[i].missing; }))
          break;
        std::string& text = scratch.keep();
        for (std::size_t k = 0; k < node.more.size(); ++k) {
          const std::string_view part = texts(node.more[k])[i].text;
          if (node.op == Op::concat) {
            text += part;
          } else {
            if (k > 0) text += '|';
            append_escaped(text, part);
          }
        }
        cell = {text, false};
        break;
      }
      default:
        break;
    }
  }
}

void Expression::evaluate(std::span<const data::ColumnView> columns, std::int64_t begin,
                          std::size_t rows, ExpressionScratch& scratch, DerivedValues& out) const {
  if (text_) {
    out.bytes.clear();
    out.offsets.assign(1, 0);
    out.validity.assign((rows + 7) / 8, 0);
  } else {
    out.numbers.resize(rows);
  }
  for (std::size_t done = 0; done < rows; done += kExpressionBlock) {
    const std::size_t count = std::min(kExpressionBlock, rows - done);
    const std::int64_t at = begin + static_cast<std::int64_t>(done);
    scratch.reset();
    const std::size_t last = nodes_.size() - 1;
    (void)scratch.numbers(last);  // slots must not move while nodes look at one another
    (void)scratch.texts(last);
    for (std::size_t slot = 0; slot <= last; ++slot) {
      nodes_[slot].text ? run_text(nodes_[slot], slot, columns, at, count, scratch)
                        : run(nodes_[slot], slot, columns, at, count, scratch);
    }
    if (!text_) {
      std::copy_n(scratch.numbers(last).begin(), count,
                  out.numbers.begin() + static_cast<std::ptrdiff_t>(done));
      continue;
    }
    const auto cells = scratch.texts(last).first(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (!cells[i].missing) {
        out.bytes += cells[i].text;
        out.validity[(done + i) / 8] |= static_cast<std::uint8_t>(1U << ((done + i) % 8));
      }
      out.offsets.push_back(static_cast<std::int32_t>(out.bytes.size()));
    }
  }
}

}  // namespace slipway::features
