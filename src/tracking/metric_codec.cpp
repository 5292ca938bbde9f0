#include "tracking/metric_codec_internal.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace slipway::tracking {
namespace {

constexpr char kVersion = 1;
constexpr char kPlain = 0;
constexpr char kXor = 1;
// More than any chunk holds; a damaged count must not ask for all memory.
constexpr std::uint64_t kMostPoints = 1 << 24;

std::uint64_t zigzag(std::int64_t value) {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}
std::int64_t unzigzag(std::uint64_t value) {
  return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

void put_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

// Reads from the front of bytes; anything that is not there makes ok() false.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}
  bool ok() const { return ok_; }
  std::string_view rest() const { return {at_, static_cast<std::size_t>(end_ - at_)}; }

  std::uint8_t byte() {
    if (at_ == end_) return fail();
    return static_cast<std::uint8_t>(*at_++);
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t next = byte();
      value |= static_cast<std::uint64_t>(next & 0x7F) << shift;
      if (next < 0x80) return value;
    }
    return fail();
  }
  std::string_view take(std::uint64_t size) {
    if (size > static_cast<std::uint64_t>(end_ - at_)) {
      fail();
      return {};
    }
    const std::string_view taken(at_, size);
    at_ += size;
    return taken;
  }
  // `size` bytes, little-endian, at most 8.
  std::uint64_t word(std::size_t size) {
    std::uint64_t value = 0;
    const auto bytes = take(size);
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }

 private:
  std::uint8_t fail() {
    ok_ = false;
    at_ = end_;
    return 0;
  }
  const char* at_;
  const char* end_;
  bool ok_ = true;
};
static_assert(std::endian::native == std::endian::little, "words are copied as they are");

template <class Get>
void put_numbers(std::string& out, std::span<const Point> points, Get get) {
  // Differences may wrap around: unsigned arithmetic undoes that on the way back.
  auto before = static_cast<std::uint64_t>(get(points[0]));
  std::uint64_t slope = 0;
  std::uint64_t even = 0;
  put_varint(out, zigzag(get(points[0])));
  const auto flush = [&] {
    if (even == 0) return;
    put_varint(out, 0);
    put_varint(out, even);
    even = 0;
  };
  for (const Point& point : points.subspan(1)) {
    const auto now = static_cast<std::uint64_t>(get(point));
    const std::uint64_t bend = now - before - slope;
    slope = now - before;
    before = now;
    if (bend == 0) {
      ++even;
      continue;
    }
    flush();
    put_varint(out, zigzag(static_cast<std::int64_t>(bend)));
  }
  flush();
}

template <class Set>
bool get_numbers(ByteReader& in, std::span<Point> points, Set set) {
  auto now = static_cast<std::uint64_t>(unzigzag(in.varint()));
  std::uint64_t slope = 0;
  set(points[0], static_cast<std::int64_t>(now));
  std::uint64_t even = 0;
  for (Point& point : points.subspan(1)) {
    if (even > 0) {
      --even;
    } else if (const std::uint64_t word = in.varint(); word != 0) {
      slope += static_cast<std::uint64_t>(unzigzag(word));
    } else {
      even = in.varint();
      if (even == 0) return false;
      --even;
    }
    now += slope;
    set(point, static_cast<std::int64_t>(now));
  }
  return in.ok() && even == 0;
}

void put_values(std::string& out, std::span<const Point> points) {
  const std::size_t start = out.size();
  out.push_back(kXor);
  std::uint64_t before = 0;
  for (const Point& point : points) {
    const auto bits = std::bit_cast<std::uint64_t>(point.value);
    const std::uint64_t change = bits ^ before;
    before = bits;
    const int front = change == 0 ? 8 : std::countl_zero(change) / 8;
    const int back = change == 0 ? 0 : std::countr_zero(change) / 8;
    const int size = 8 - front - back;
    out.push_back(static_cast<char>(front << 4 | size));
    const std::uint64_t shifted = change >> (8 * back);
    out.append(reinterpret_cast<const char*>(&shifted), static_cast<std::size_t>(size));
  }
  if (out.size() - start <= 8 * points.size() + 1) return;
  out.resize(start);
  out.push_back(kPlain);
  for (const Point& point : points) {
    out.append(reinterpret_cast<const char*>(&point.value), sizeof(point.value));
  }
}

bool get_values(ByteReader& in, std::span<Point> points) {
  const auto layout = static_cast<char>(in.byte());
  if (layout == kPlain) {
    for (Point& point : points) point.value = std::bit_cast<double>(in.word(8));
    return in.ok();
  }
  if (layout != kXor) return false;
  std::uint64_t bits = 0;
  for (Point& point : points) {
    const std::uint8_t shape = in.byte();
    const int front = shape >> 4;
    const int size = shape & 0xF;
    if (front + size > 8) return false;
    if (size > 0) bits ^= in.word(static_cast<std::size_t>(size)) << (8 * (8 - front - size));
    point.value = std::bit_cast<double>(bits);
  }
  return in.ok();
}

Error damaged(std::string_view what) {
  return data_loss(fmt::format("stored metric points cannot be read: {}", what));
}

}  // namespace

void sort_points(std::vector<Point>& points) {
  if (!std::ranges::is_sorted(points, is_before)) std::ranges::sort(points, is_before);
  const auto same = [](const Point& a, const Point& b) { return !is_before(a, b); };
  const auto doubled = std::ranges::unique(points, same);
  points.erase(doubled.begin(), doubled.end());
}

std::string encode_chunk(std::span<const Point> points) {
  std::string out;
  out.reserve(16 + points.size() * 10);
  out.push_back(kVersion);
  put_varint(out, points.size());
  if (points.empty()) return out;
  put_numbers(out, points, [](const Point& point) { return point.timestamp_ms; });
  put_numbers(out, points, [](const Point& point) { return point.step; });
  put_values(out, points);
  return out;
}

Result<void> decode_chunk(std::string_view bytes, std::vector<Point>& to) {
  ByteReader in(bytes);
  if (in.byte() != kVersion) return damaged("they have another version");
  const std::uint64_t count = in.varint();
  if (!in.ok() || count > kMostPoints) return damaged("their number is missing");
  if (count == 0) return {};
  const std::size_t before = to.size();
  to.resize(before + count);
  const std::span<Point> points(to.data() + before, count);
  const bool whole =
      get_numbers(in, points, [](Point& point, std::int64_t t) { point.timestamp_ms = t; }) &&
      get_numbers(in, points, [](Point& point, std::int64_t s) { point.step = s; }) &&
      get_values(in, points) && in.rest().empty();
  if (whole) return {};
  to.resize(before);
  return damaged("they end early or hold too much");
}

void append_to_record(std::string& record, std::string_view key, std::string_view chunk) {
  put_varint(record, key.size());
  record += key;
  put_varint(record, chunk.size());
  record += chunk;
}

Result<bool> next_in_record(std::string_view& record, std::string_view& key,
                            std::string_view& chunk) {
  if (record.empty()) return false;
  ByteReader in(record);
  key = in.take(in.varint());
  chunk = in.take(in.varint());
  if (!in.ok()) return damaged("a record ends early");
  record = in.rest();
  return true;
}

}  // namespace slipway::tracking
