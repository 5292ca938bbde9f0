#include <bit>
#include <cmath>
#include <limits>

#include "base/hash.h"
#include "models/certificate_internal.h"

namespace slipway::models {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the certificate's numbers are little-endian");

template <class T>
std::string_view bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <class T>
Result<std::vector<T>> values_of(const Json& base64, std::size_t count) {
  const auto bytes = from_base64(base64.get<std::string>());
  if (!bytes) return bytes.error();
  if (bytes->size() != count * sizeof(T))
    return data_loss("it holds another number of values than it says");
  std::vector<T> out(count);
  std::memcpy(out.data(), bytes->data(), bytes->size());
  return out;
}

Json text_to_json(std::string_view text) {
  Json json = std::string(text);
  try {
    (void)json.dump();  // throws when the text is not UTF-8
    return json;
  } catch (const Json::exception&) {
    return Json{{"base64", to_base64(text)}};
  }
}

Json value_to_json(const data::ColumnView& column, std::int64_t row) {
  if (column.is_null(row)) return nullptr;
  switch (column.type) {
    case data::Type::boolean:
      return column.boolean(row);
    case data::Type::int64:
    case data::Type::timestamp:
      return column.integer(row);
    case data::Type::text:
      return text_to_json(column.text(row));
    case data::Type::float64:
      break;
  }
  const double value = column.real(row);
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

// The inverse of value_to_json. Throws nlohmann's exceptions on wrong types.
Result<void> append(data::BatchBuilder& builder, std::size_t column, data::Type type,
                    const Json& value) {
  if (value.is_null()) {
    builder.append_null(column);
    return {};
  }
  switch (type) {
    case data::Type::boolean:
      builder.append_boolean(column, value.get<bool>());
      return {};
    case data::Type::int64:
    case data::Type::timestamp:
      builder.append_integer(column, value.get<std::int64_t>());
      return {};
    case data::Type::float64:
      if (value.is_string()) {
        const auto& word = value.get_ref<const std::string&>();
        const double infinity = std::numeric_limits<double>::infinity();
        builder.append_real(
            column, word == "NaN" ? std::nan("") : (word == "-Infinity" ? -infinity : infinity));
      } else {
        builder.append_real(column, value.get<double>());
      }
      return {};
    case data::Type::text: {
      if (value.is_string()) {
        builder.append_text(column, value.get<std::string>());
        return {};
      }
      const auto bytes = from_base64(value.at("base64").get<std::string>());
      if (!bytes) return bytes.error();
      builder.append_text(column, *bytes);
      return {};
    }
  }
  return internal("a column of no known type");
}

void append_row(data::BatchBuilder& builder, std::size_t column, const data::ColumnView& from,
                std::int64_t row) {
  if (from.is_null(row)) return builder.append_null(column);
  switch (from.type) {
    case data::Type::boolean:
      return builder.append_boolean(column, from.boolean(row));
    case data::Type::int64:
    case data::Type::timestamp:
      return builder.append_integer(column, from.integer(row));
    case data::Type::float64:
      return builder.append_real(column, from.real(row));
    case data::Type::text:
      return builder.append_text(column, from.text(row));
  }
}

struct Replay {
  std::vector<float> matrix;
  std::vector<double> scores;
};

Result<Replay> replay(const features::Pipeline& pipeline, const Model& model,
                      const data::Batch& rows) {
  Replay out;
  const auto count = static_cast<std::size_t>(rows.rows);
  out.matrix.resize(count * pipeline.outputs().size());
  out.scores.resize(count);
  if (const auto done = pipeline.transform(rows, out.matrix); !done) return done.error();
  if (const auto done = model.predict(out.matrix, count, out.scores); !done) return done.error();
  return out;
}

// The first difference between what was and what is, or nothing.
Result<void> compare(const features::Pipeline& pipeline, const Replay& was, const Replay& is,
                     std::size_t first_row) {
  const std::size_t cols = pipeline.outputs().size();
  for (std::size_t i = 0; i < is.matrix.size(); ++i) {
    const float then = was.matrix[first_row * cols + i];
    const float now = is.matrix[i];
    if (std::bit_cast<std::uint32_t>(then) == std::bit_cast<std::uint32_t>(now)) continue;
    return data_loss(
        fmt::format("skew: feature '{}' of training row {} was {} (bits {:08x}) in training and "
                    "is {} (bits {:08x}) here; this "
                    "program would not serve the model that was trained. Retrain it here, or serve "
                    "it with the program that did.",
                    pipeline.outputs()[i % cols], first_row + i / cols, then,
                    std::bit_cast<std::uint32_t>(then), now, std::bit_cast<std::uint32_t>(now)));
  }
  for (std::size_t i = 0; i < is.scores.size(); ++i) {
    const double then = was.scores[first_row + i];
    const double now = is.scores[i];
    if (std::bit_cast<std::uint64_t>(then) == std::bit_cast<std::uint64_t>(now)) continue;
    return data_loss(
        fmt::format("skew: the score of training row {} was {} (bits {:016x}) in training and is "
                    "{} (bits {:016x}) here, from the "
                    "same features; the model file or its runtime is not the one that was trained",
                    first_row + i, then, std::bit_cast<std::uint64_t>(then), now,
                    std::bit_cast<std::uint64_t>(now)));
  }
  return {};
}

}  // namespace

Result<data::BatchBuilder> sample_rows(const data::Schema& schema, const data::Batch& batch,
                                       std::size_t most) {
  if (batch.schema == nullptr) return invalid_argument("the sample rows have no schema");
  data::BatchBuilder builder(schema);
  const std::int64_t count = std::min(batch.rows, static_cast<std::int64_t>(most));
  for (std::size_t c = 0; c < schema.fields.size(); ++c) {
    const auto at = batch.schema->find(schema.fields[c].name);
    if (!at) return at.error();
    if (batch.columns[*at].type != schema.fields[c].type) {
      return invalid_argument("sample column '" + schema.fields[c].name + "' is " +
                              std::string(to_string(batch.columns[*at].type)) + ", not " +
                              std::string(to_string(schema.fields[c].type)));
    }
    for (std::int64_t i = 0; i < count; ++i) {
      append_row(builder, c, batch.columns[*at], i * batch.rows / count);
    }
  }
  return builder;
}

Result<Json> certify(const features::Pipeline& pipeline, const Model& model,
                     const data::Batch& rows) {
  const auto made = replay(pipeline, model, rows);
  if (!made) return made.error();
  Json columns = Json::array();
  for (std::size_t c = 0; c < rows.columns.size(); ++c) {
    Json values = Json::array();
    for (std::int64_t row = 0; row < rows.rows; ++row)
      values.push_back(value_to_json(rows.columns[c], row));
    columns.push_back({{"name", rows.schema->fields[c].name},
                       {"type", to_string(rows.columns[c].type)},
                       {"values", std::move(values)}});
  }
  return Json{{"version", 1},
              {"rows", rows.rows},
              {"columns", std::move(columns)},
              {"outputs", pipeline.outputs().size()},
              {"matrix", to_base64(bytes_of(made->matrix))},
              {"matrix_sha256", sha256_hex(bytes_of(made->matrix))},
              {"scores", to_base64(bytes_of(made->scores))}};
}

Result<void> check_certificate(const Json& certificate, const features::Pipeline& pipeline,
                               const Model& model) {
  try {
    if (certificate.at("version") != 1) {
      return unimplemented("certificate version " + certificate.at("version").dump() +
                           " is not read here");
    }
    const auto rows = certificate.at("rows").get<std::size_t>();
    const std::size_t cols = pipeline.outputs().size();
    const Json& columns = certificate.at("columns");
    if (rows > kCertificateRows || certificate.at("outputs") != cols ||
        columns.size() != pipeline.inputs().fields.size()) {
      return data_loss("the certificate belongs to another feature pipeline");
    }
    Replay was;
    auto matrix = values_of<float>(certificate.at("matrix"), rows * cols);
    if (!matrix) return matrix.error().at("certificate matrix");
    auto scores = values_of<double>(certificate.at("scores"), rows);
    if (!scores) return scores.error().at("certificate scores");
    was.matrix = std::move(*matrix);
    was.scores = std::move(*scores);
    if (sha256_hex(bytes_of(was.matrix)) != certificate.at("matrix_sha256").get<std::string>()) {
      return data_loss("the certificate's matrix is not the one its hash was taken of");
    }
    data::BatchBuilder builder(pipeline.inputs());
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const data::Field& field = pipeline.inputs().fields[c];
      const Json& values = columns[c].at("values");
      if (columns[c].at("name") != field.name || values.size() != rows) {
        return data_loss("the certificate's column " + std::to_string(c) + " is not '" +
                         field.name + "'");
      }
      for (const Json& value : values) {
        if (const auto done = append(builder, c, field.type, value); !done) return done;
      }
    }
    const auto batch = builder.batch();
    if (!batch) return batch.error();
    const auto whole = replay(pipeline, model, *batch);
    if (!whole) return whole.error();
    if (auto same = compare(pipeline, was, *whole, 0); !same) return same;
    for (std::size_t row = 0; row < rows; ++row) {
      const auto one = replay(pipeline, model, batch->slice(static_cast<std::int64_t>(row), 1));
      if (!one) return one.error();
      if (auto same = compare(pipeline, was, *one, row); !same) return same;
    }
    return {};
  } catch (const std::exception& e) {
    return data_loss("the certificate cannot be read: " + std::string(e.what()));
  }
}

// https://mlflow.org/docs/latest/ml/model/signatures: column types boolean, long, double, string,
// datetime.
Json mlflow_columns(const data::Schema& schema) {
  const auto type = [](data::Type of) {
    switch (of) {
      case data::Type::boolean:
        return "boolean";
      case data::Type::int64:
        return "long";
      case data::Type::float64:
        return "double";
      case data::Type::text:
        return "string";
      case data::Type::timestamp:
        return "datetime";
    }
    return "string";
  };
  Json columns = Json::array();
  for (const data::Field& field : schema.fields) {
    columns.push_back(
        {{"name", field.name}, {"type", type(field.type)}, {"required", !field.nullable}});
  }
  return columns;
}

Json split_rows(const data::Batch& batch, std::size_t most) {
  Json rows = Json::array();
  for (std::int64_t row = 0; row < std::min(batch.rows, static_cast<std::int64_t>(most)); ++row) {
    Json values = Json::array();
    for (const data::ColumnView& column : batch.columns) {
      Json value = value_to_json(column, row);
      if (column.type == data::Type::timestamp && !value.is_null())
        value = format_time(from_micros(column.integer(row)));
      if (column.type == data::Type::float64 && value.is_string()) value = nullptr;
      if (value.is_object()) value = nullptr;  // a text that JSON cannot hold
      values.push_back(std::move(value));
    }
    rows.push_back(std::move(values));
  }
  return {{"columns", batch.schema->names()}, {"data", std::move(rows)}};
}

namespace {

void add_yaml(const Json& value, std::size_t indent, std::string& out) {
  for (const auto& [key, item] : value.items()) {
    out.append(indent, ' ').append(key).append(":");
    if (item.is_object() && !item.empty()) {
      out += "\n";
      add_yaml(item, indent + 2, out);
    } else {
      out += " " + item.dump() + "\n";  // JSON is YAML in flow style
    }
  }
}

}  // namespace

std::string to_yaml(const Json& value) {
  std::string out;
  add_yaml(value, 0, out);
  return out;
}

}  // namespace slipway::models
