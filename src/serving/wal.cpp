#include <bit>

#include "base/hash.h"
#include "serving/wal_internal.h"

namespace slipway::serving::wal {
namespace {

static_assert(std::endian::native == std::endian::little, "write-ahead files are little-endian");

constexpr std::array<std::string_view, 7> kLogColumns = {"id",    "time",       "version", "role",
                                                         "alias", "latency_us", "score"};
constexpr std::uint32_t kMaxRecord = 1u << 30;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint32_t>(text.size()));
  out.append(text);
}

// Space for the header, which finish_record fills.
std::string begin_record(std::size_t expected) {
  std::string out;
  out.reserve(expected);
  out.append(kRecordHeader, '\0');
  return out;
}

void finish_record(std::string& record) {
  const std::string_view payload = std::string_view(record).substr(kRecordHeader);
  const auto length = static_cast<std::uint32_t>(payload.size());
  const std::uint32_t checksum = crc32(payload);
  std::memcpy(record.data(), &length, sizeof(length));
  std::memcpy(record.data() + sizeof(length), &checksum, sizeof(checksum));
}

void put_column(std::string& out, const data::ColumnView& column) {
  const std::size_t bitmap = out.size();
  out.append(static_cast<std::size_t>((column.rows + 7) / 8), '\0');
  for (std::int64_t row = 0; row < column.rows; ++row) {
    if (column.is_null(row)) continue;
    char& byte = out[bitmap + static_cast<std::size_t>(row >> 3)];
    byte = static_cast<char>(static_cast<unsigned char>(byte) | (1u << (row & 7)));
    switch (column.type) {
      case data::Type::boolean:
        out.push_back(column.boolean(row) ? '\1' : '\0');
        break;
      case data::Type::int64:
      case data::Type::timestamp:
        put(out, column.integer(row));
        break;
      case data::Type::float64:
        put(out, column.real(row));
        break;
      case data::Type::text:
        put_text(out, column.text(row));
        break;
    }
  }
}

}  // namespace

std::string encode_stream(std::uint32_t id, const Stream& stream) {
  const Json json = {{"deployment", stream.deployment},
                     {"role", to_string(stream.role)},
                     {"schema", stream.inputs.to_json()}};
  const std::string text = json.dump();
  std::string out = begin_record(kRecordHeader + 5 + text.size());
  put(out, Kind::stream);
  put(out, id);
  out.append(text);
  finish_record(out);
  return out;
}

std::string encode_batch(std::uint32_t stream, const PredictionBatch& batch) {
  const std::size_t columns = batch.inputs != nullptr ? batch.inputs->columns.size() : 0;
  std::string out = begin_record(64 + batch.alias.size() + batch.ids.size() * (48 + columns * 12));
  put(out, Kind::batch);
  put(out, stream);
  put(out, to_micros(batch.time));
  put(out, batch.version);
  put(out, batch.latency_us);
  put(out, static_cast<std::uint32_t>(batch.ids.size()));
  put_text(out, batch.alias);
  put_text(out, batch.caller);
  put_text(out, batch.trace);
  for (const auto& id : batch.ids) put_text(out, id);
  for (const double score : batch.scores) put(out, score);
  for (std::size_t row = 0; row < batch.ids.size(); ++row) {
    put(out, !batch.input_hashes.empty() ? batch.input_hashes[row]
             : batch.inputs != nullptr ? hash_of_row(*batch.inputs, static_cast<std::int64_t>(row))
                                       : 0);
  }
  const std::size_t width = batch.values.size() / batch.ids.size();
  for (std::size_t row = 0; row < batch.ids.size(); ++row) {
    if (width == 0) {
      put_text(out, "");
      continue;
    }
    Json values = Json::array();
    for (const double value : batch.values.subspan(row * width, width))
      values.push_back(json_number(value));
    put_text(out, values.dump());
  }
  for (std::size_t i = 0; i < columns; ++i) put_column(out, batch.inputs->columns[i]);
  finish_record(out);
  return out;
}

std::string_view Reader::raw(std::size_t count) {
  if (!ok_ || bytes_.size() < count) {
    ok_ = false;
    return {};
  }
  const auto taken = bytes_.substr(0, count);
  bytes_.remove_prefix(count);
  return taken;
}

namespace {
template <class T>
T take(Reader& reader) {
  T value{};
  const auto bytes = reader.raw(sizeof(T));
  if (bytes.size() == sizeof(T)) std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}
}  // namespace

std::uint8_t Reader::u8() { return take<std::uint8_t>(*this); }
std::uint32_t Reader::u32() { return take<std::uint32_t>(*this); }
std::int64_t Reader::i64() { return take<std::int64_t>(*this); }
double Reader::f64() { return take<double>(*this); }
std::string_view Reader::text() { return raw(u32()); }

BatchHead Reader::batch_head(Kind kind) {
  BatchHead head;
  head.stream = u32();
  head.time = from_micros(i64());
  head.version = i64();
  head.latency_us = i64();
  head.rows = u32();
  head.alias = text();
  head.extended = kind == Kind::batch;
  if (head.extended) {
    head.caller = text();
    head.trace = text();
  }
  return head;
}

data::Schema log_schema(const data::Schema& inputs) {
  using data::Type;
  constexpr std::array<Type, kLogColumns.size()> types = {
      Type::text, Type::timestamp, Type::int64, Type::text, Type::text, Type::int64, Type::float64};
  data::Schema schema;
  schema.fields.reserve(kLogColumns.size() + inputs.fields.size());
  for (std::size_t i = 0; i < kLogColumns.size(); ++i) {
    schema.fields.push_back({.name = std::string(kLogColumns[i]), .type = types[i]});
  }
  for (const auto& field : inputs.fields) {
    const bool taken = std::ranges::find(kLogColumns, field.name) != kLogColumns.end();
    schema.fields.push_back(
        {.name = taken ? "input." + field.name : field.name, .type = field.type});
  }
  for (const std::string_view name : PredictionLog::kTraceColumns)
    schema.fields.push_back({.name = std::string(name), .type = Type::text});
  return schema;
}

std::uint64_t hash_of_row(const data::Batch& inputs, std::int64_t row) {
  std::uint64_t hash = inputs.columns.size();
  for (const data::ColumnView& column : inputs.columns) {
    if (column.is_null(row)) {
      hash = hash64(
          "\xff"
          "null",
          hash);
      continue;
    }
    if (column.type == data::Type::text) {
      hash = hash64(column.text(row), hash);
      continue;
    }
    std::array<char, 8> bytes{};
    if (column.type == data::Type::float64) {
      const double value = column.real(row);
      std::memcpy(bytes.data(), &value, sizeof(value));
    } else {
      const std::int64_t value = column.type == data::Type::boolean
                                     ? static_cast<std::int64_t>(column.boolean(row))
                                     : column.integer(row);
      std::memcpy(bytes.data(), &value, sizeof(value));
    }
    hash = hash64({bytes.data(), bytes.size()}, hash);
  }
  return hash;
}

namespace {

// The four last columns; absent in batches of before there were any.
void append_traces(Reader& reader, const BatchHead& head, std::size_t first,
                   data::BatchBuilder& into) {
  const auto text_or_null = [&](std::size_t column, std::string_view text) {
    if (text.empty()) {
      into.append_null(column);
    } else {
      into.append_text(column, text);
    }
  };
  for (std::uint32_t row = 0; row < head.rows && reader.ok(); ++row) {
    text_or_null(first, head.caller);
    text_or_null(first + 1, head.trace);
    const auto hash = head.extended ? static_cast<std::uint64_t>(reader.i64()) : 0;
    text_or_null(first + 2, hash == 0 ? std::string() : fmt::format("{:016x}", hash));
  }
  for (std::uint32_t row = 0; row < head.rows && reader.ok(); ++row)
    text_or_null(first + 3, head.extended ? reader.text() : std::string_view());
}

}  // namespace

Result<void> append_rows(Reader& reader, const BatchHead& head, const Stream& stream,
                         data::BatchBuilder& into) {
  for (std::uint32_t row = 0; row < head.rows && reader.ok(); ++row) {
    into.append_text(0, reader.text());
    into.append_integer(1, to_micros(head.time));
    into.append_integer(2, head.version);
    into.append_text(3, to_string(stream.role));
    into.append_text(4, head.alias);
    into.append_integer(5, head.latency_us);
  }
  for (std::uint32_t row = 0; row < head.rows && reader.ok(); ++row) {
    const double score = reader.f64();
    if (std::isnan(score)) {
      into.append_null(6);
    } else {
      into.append_real(6, score);
    }
  }
  append_traces(reader, head, kLogColumns.size() + stream.inputs.fields.size(), into);
  for (std::size_t i = 0; i < stream.inputs.fields.size() && reader.ok(); ++i) {
    const std::size_t column = kLogColumns.size() + i;
    const auto bitmap = reader.raw((head.rows + 7) / 8);
    for (std::uint32_t row = 0; row < head.rows && reader.ok(); ++row) {
      if (((static_cast<unsigned char>(bitmap[row >> 3]) >> (row & 7)) & 1) == 0) {
        into.append_null(column);
        continue;
      }
      switch (stream.inputs.fields[i].type) {
        case data::Type::boolean:
          into.append_boolean(column, reader.u8() != 0);
          break;
        case data::Type::int64:
        case data::Type::timestamp:
          into.append_integer(column, reader.i64());
          break;
        case data::Type::float64:
          into.append_real(column, reader.f64());
          break;
        case data::Type::text:
          into.append_text(column, reader.text());
          break;
      }
    }
  }
  if (!reader.ok())
    return data_loss("a batch of predictions ends early although its checksum is right");
  return {};
}

Walk::Walk(std::string_view file) : file_(file) {
  if (file_.starts_with(kMagic)) {
    end_ = kMagic.size();
  } else {
    damaged_ = file_.size() >= kMagic.size();
    file_ = {};
  }
}

std::optional<Walk::Record> Walk::next() {
  const std::string_view rest = file_.substr(end_);
  if (rest.size() < kRecordHeader) return std::nullopt;
  Reader header(rest);
  const std::uint32_t length = header.u32();
  const std::uint32_t checksum = header.u32();
  if (length == 0 || length > kMaxRecord || rest.size() - kRecordHeader < length)
    return std::nullopt;
  const std::string_view payload = rest.substr(kRecordHeader, length);
  if (crc32(payload) != checksum) {
    damaged_ = rest.size() > kRecordHeader + length;
    return std::nullopt;
  }
  Record record{.offset = end_, .kind = Kind{}, .reader = Reader(payload)};
  record.kind = static_cast<Kind>(record.reader.u8());
  end_ += kRecordHeader + length;
  return record;
}

Result<std::pair<std::uint32_t, Stream>> decode_stream(Reader reader) {
  const std::uint32_t id = reader.u32();
  if (!reader.ok()) return data_loss("a stream record ends early");
  auto json = parse_json(reader.rest(), "stream record");
  if (!json) return json.error();
  if (!json->is_object() || !json->contains("schema") ||
      !json->value("deployment", Json()).is_string()) {
    return data_loss("a stream record names no deployment or schema");
  }
  auto schema = data::Schema::from_json((*json)["schema"]);
  if (!schema) return schema.error();
  Stream stream{.deployment = (*json)["deployment"].get<std::string>(),
                .role = json->value("role", "primary") == "shadow" ? Role::shadow : Role::primary,
                .inputs = std::move(*schema)};
  return std::pair{id, std::move(stream)};
}

}  // namespace slipway::serving::wal
