#include "models/parquet_splice_internal.h"

#include <cstring>
#include <stdexcept>

namespace slipway::models {
namespace {

enum Type : std::uint8_t {
  kStop = 0,
  kTrue = 1,
  kFalse = 2,
  kByte = 3,
  kI16 = 4,
  kI32 = 5,
  kI64 = 6,
  kDouble = 7,
  kBinary = 8,
  kList = 9,
  kSet = 10,
  kMap = 11,
  kStruct = 12,
};

constexpr int kMostNestedStructs = 32;

// What a struct is, as far as offsets in it matter.
enum class Thing { row_group, column_chunk, column_metadata, other };

bool is_offset(Thing thing, int field) {
  switch (thing) {
    case Thing::row_group:
      return field == 5;  // file_offset
    case Thing::column_chunk:
      return field == 2 || field == 4 || field == 6;  // file_offset, offset and column indexes
    case Thing::column_metadata:
      return field == 9 || field == 10 || field == 11 || field == 14;  // pages, bloom filter
    case Thing::other:
      break;
  }
  return false;
}

Thing inside(Thing thing, int field) {
  if (thing == Thing::row_group && field == 1) return Thing::column_chunk;
  if (thing == Thing::column_chunk && field == 3) return Thing::column_metadata;
  return Thing::other;
}

std::uint64_t zigzag(std::int64_t value) {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}

void put_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

// Reads values of the compact protocol, copying them to `out` with offsets moved. Throws
// runtime_error on bytes that are none.
class Copier {
 public:
  Copier(std::string_view in, std::int64_t shift) : in_(in), shift_(shift) {}
  std::string out;
  std::size_t place() const { return at_; }

  std::uint8_t byte() {
    if (at_ >= in_.size()) throw std::runtime_error("the footer is cut off");
    return static_cast<std::uint8_t>(in_[at_++]);
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t next = byte();
      value |= static_cast<std::uint64_t>(next & 0x7f) << shift;
      if ((next & 0x80) == 0) return value;
    }
    throw std::runtime_error("a number of the footer has no end");
  }

  struct Header {
    std::uint8_t type;
    int field;
  };
  Header header(int before) {
    const std::uint8_t first = byte();
    const auto type = static_cast<std::uint8_t>(first & 0x0f);
    if (type == kStop) return {kStop, 0};
    const int step = first >> 4;
    if (step != 0) return {type, before + step};
    const std::uint64_t raw = varint();
    return {type, static_cast<int>(static_cast<std::int64_t>(raw >> 1) ^
                                   -static_cast<std::int64_t>(raw & 1))};
  }

  void structure(Thing thing, int depth) {
    if (depth > kMostNestedStructs) throw std::runtime_error("the footer is nested too deep");
    for (int field = 0;;) {
      const std::size_t begin = at_;
      const Header next = header(field);
      out.append(in_.substr(begin, at_ - begin));
      if (next.type == kStop) return;
      field = next.field;
      if (next.type == kI64 && is_offset(thing, field)) {
        const std::uint64_t raw = varint();
        const std::int64_t value =
            static_cast<std::int64_t>(raw >> 1) ^ -static_cast<std::int64_t>(raw & 1);
        // A chunk's file_offset is 0 where writers leave it out.
        put_varint(out, zigzag(value == 0 ? 0 : value + shift_));
        continue;
      }
      value(next.type, inside(thing, field), depth);
    }
  }

  void value(std::uint8_t type, Thing thing, int depth) {
    if (type == kStruct) return structure(thing, depth + 1);
    const std::size_t begin = at_;
    switch (type) {
      case kTrue:
      case kFalse:
        return;
      case kByte:
        skip(1);
        break;
      case kI16:
      case kI32:
      case kI64:
        varint();
        break;
      case kDouble:
        skip(8);
        break;
      case kBinary:
        skip(varint());
        break;
      case kList:
      case kSet:
        return list(thing, depth);
      default:
        throw std::runtime_error("the footer holds a value of an unknown type");
    }
    out.append(in_.substr(begin, at_ - begin));
  }

 private:
  void skip(std::uint64_t count) {
    if (count > in_.size() - at_) throw std::runtime_error("the footer is cut off");
    at_ += static_cast<std::size_t>(count);
  }
  void list(Thing thing, int depth) {
    const std::size_t begin = at_;
    const std::uint8_t first = byte();
    std::uint64_t count = first >> 4;
    if (count == 15) count = varint();
    out.append(in_.substr(begin, at_ - begin));
    const auto type = static_cast<std::uint8_t>(first & 0x0f);
    for (std::uint64_t i = 0; i < count; ++i) {
      if (type == kTrue || type == kFalse) {
        out.push_back(static_cast<char>(byte()));
      } else {
        value(type, thing, depth);
      }
    }
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::int64_t shift_;
};

constexpr int kRowsField = 3;
constexpr int kRowGroupsField = 4;

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

}  // namespace

Result<ParquetPart> split_parquet(std::string_view file) {
  const std::size_t frame = kParquetMagic.size();
  if (file.size() < 2 * frame + 4 || !file.starts_with(kParquetMagic) ||
      !file.ends_with(kParquetMagic))
    return data_loss("it is no Parquet file");
  const std::uint32_t length = little_endian(file.substr(file.size() - frame - 4));
  if (length > file.size() - 2 * frame - 4) return data_loss("its footer is longer than the file");
  const std::size_t begin = file.size() - frame - 4 - length;
  ParquetPart part{.data = file.substr(frame, begin - frame)};
  try {
    const std::string_view footer = file.substr(begin, length);
    Copier copier(footer, 0);
    for (int field = 0;;) {
      const std::size_t from = copier.place();
      const auto next = copier.header(field);
      if (next.type == kStop) break;
      field = next.field;
      copier.out.clear();
      if (field == kRowGroupsField) {
        const std::uint8_t first = copier.byte();
        std::uint64_t count = first >> 4;
        if (count == 15) count = copier.varint();
        for (std::uint64_t i = 0; i < count; ++i) {
          copier.out.clear();
          copier.structure(Thing::row_group, 0);
          part.row_groups.push_back(copier.out);
        }
        continue;
      }
      copier.value(next.type, Thing::other, 0);
      // Each field with its number in full: its neighbours change.
      if (field == kRowsField) continue;
      part.footer.push_back(static_cast<char>(next.type));
      put_varint(part.footer, zigzag(field));
      part.footer.append(copier.out);
      if (copier.place() <= from) return data_loss("its footer does not advance");
    }
  } catch (const std::runtime_error& e) {
    return data_loss(e.what());
  }
  return part;
}

Result<std::string> shifted(std::string_view row_group, std::int64_t shift) {
  try {
    Copier copier(row_group, shift);
    copier.structure(Thing::row_group, 0);
    return std::move(copier.out);
  } catch (const std::runtime_error& e) {
    return data_loss(e.what());
  }
}

Result<std::string> parquet_end(std::string_view footer, const std::vector<std::string>& row_groups,
                                std::int64_t rows) {
  std::string out(footer);
  out.push_back(static_cast<char>(kI64));
  put_varint(out, zigzag(kRowsField));
  put_varint(out, zigzag(rows));
  out.push_back(static_cast<char>(kList));
  put_varint(out, zigzag(kRowGroupsField));
  if (row_groups.size() < 15) {
    out.push_back(static_cast<char>(row_groups.size() << 4 | kStruct));
  } else {
    out.push_back(static_cast<char>(0xf0 | kStruct));
    put_varint(out, row_groups.size());
  }
  for (const std::string& group : row_groups) out += group;
  out.push_back(static_cast<char>(kStop));
  if (out.size() > 0x7fff'ffff) return resource_exhausted("the file has too many row groups");
  const auto length = static_cast<std::uint32_t>(out.size());
  out.append(reinterpret_cast<const char*>(&length), sizeof(length));
  out += kParquetMagic;
  return out;
}

}  // namespace slipway::models
