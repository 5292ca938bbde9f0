#include "models/parquet_splice_internal.h"

#include <cstring>
#include <initializer_list>

#include "data/thrift.h"

namespace slipway::models {
namespace {

using data::thrift::Kind;
using data::thrift::Value;

// Field numbers of parquet.thrift.
enum SplicedFile : std::int16_t { kSplicedRows = 3, kSplicedGroups = 4 };
enum SplicedGroup : std::int16_t { kSplicedColumns = 1 };
enum SplicedChunk : std::int16_t { kSplicedMetaData = 3 };
// Where things stand in the file: the group; the chunk and its page indexes; the pages and the
// Bloom filter.
constexpr std::initializer_list<std::int16_t> kGroupPlaces = {5};
constexpr std::initializer_list<std::int16_t> kChunkPlaces = {2, 4, 6};
constexpr std::initializer_list<std::int16_t> kMetaDataPlaces = {9, 10, 11, 14};

Error no_footer() { return data_loss("its footer is cut off or no Thrift"); }

// False when a place would be no number any more. Writers that leave a place out say 0.
bool move_places(Value& thing, std::initializer_list<std::int16_t> places, std::int64_t shift) {
  for (const std::int16_t id : places) {
    const auto at = thing.number(id);
    if (!at || *at == 0) continue;
    std::int64_t moved = 0;
    if (__builtin_add_overflow(*at, shift, &moved)) return false;
    thing.set_number(id, moved);
  }
  return true;
}

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

// A structure whose end, one byte, was left away, so that fields can follow.
std::string without_end(std::string structure) {
  structure.pop_back();
  return structure;
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
  auto footer = data::thrift::parse(file.substr(begin, length));
  if (!footer) return no_footer();
  ParquetPart part{.data = file.substr(frame, begin - frame)};
  if (const Value* groups = footer->field(kSplicedGroups)) {
    if (groups->item != Kind::structure) return data_loss("its row groups are none");
    for (const Value& group : groups->items) part.row_groups.push_back(data::thrift::write(group));
  }
  footer->drop(kSplicedRows);
  footer->drop(kSplicedGroups);
  part.footer = without_end(data::thrift::write(*footer));
  return part;
}

Result<std::string> shifted(std::string_view row_group, std::int64_t shift) {
  auto group = data::thrift::parse(row_group);
  if (!group) return no_footer();
  bool good = move_places(*group, kGroupPlaces, shift);
  if (Value* columns = group->field(kSplicedColumns)) {
    for (Value& chunk : columns->items) {
      good = good && move_places(chunk, kChunkPlaces, shift);
      Value* meta = chunk.field(kSplicedMetaData);
      if (meta != nullptr) good = good && move_places(*meta, kMetaDataPlaces, shift);
    }
  }
  if (!good) return data_loss("a row group says a place beyond any file");
  return data::thrift::write(*group);
}

Result<std::string> parquet_end(std::string_view footer, const std::vector<std::string>& row_groups,
                                std::int64_t rows) {
  const std::string structure = std::string(footer) + '\0';
  auto file = data::thrift::parse(structure);
  if (!file) return no_footer();
  Value groups{.kind = Kind::list, .item = Kind::structure};
  for (const std::string& text : row_groups) {
    auto group = data::thrift::parse(text);
    if (!group) return no_footer();
    groups.items.push_back(*std::move(group));
  }
  auto& fields = file->fields;
  const auto after =
      std::ranges::find_if(fields, [](const auto& field) { return field.first > kSplicedRows; });
  const auto place = fields.insert(after, {kSplicedGroups, std::move(groups)});
  fields.insert(place, {kSplicedRows, Value{.kind = Kind::i64, .integer = rows}});
  std::string out = data::thrift::write(*file);
  if (out.size() > 0x7fff'ffff) return resource_exhausted("the file has too many row groups");
  const auto length = static_cast<std::uint32_t>(out.size());
  out.append(reinterpret_cast<const char*>(&length), sizeof(length));
  out += kParquetMagic;
  return out;
}

}  // namespace slipway::models
