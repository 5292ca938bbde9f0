#include <fmt/ranges.h>

#include "api/inference_inputs_internal.h"
#include "api/inference_internal.h"
#include "api/json_cursor_internal.h"
#include "base/spec.h"

namespace slipway::api {
namespace {

using Kind = JsonCursor::Kind;

constexpr int kMaxDepth = 32;
constexpr std::int64_t kLongestTimeout = std::int64_t{3600} * 1'000'000;
constexpr double kExactIntegers = 9007199254740992.0;  // 2^53: up to here every integer is a double

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::array:
      return "an array";
    case Kind::object:
      return "an object";
    case Kind::string:
      return "a string";
    case Kind::boolean:
      return "a boolean";
    case Kind::null:
      return "null";
    case Kind::number:
      return "a number";
    case Kind::none:
      break;
  }
  return "nothing";
}

Error not_json(const JsonCursor& json) { return json.error().at("the body is not JSON"); }

// The value at the cursor is not of the kind that is wanted, or the text is malformed there.
Error wrong(JsonCursor& json, std::string_view what, std::string_view wanted) {
  const Kind kind = json.kind();
  if (!json.ok()) return not_json(json);
  return invalid_argument(fmt::format("{} is {}, wanted {}", what, name_of(kind), wanted));
}

Result<std::string_view> read_text(JsonCursor& json, std::string_view what,
                                   std::string_view wanted) {
  std::string_view text;
  if (json.kind() != Kind::string) return wrong(json, what, wanted);
  if (!json.read_string(text)) return not_json(json);
  return text;
}

Result<bool> read_flag(JsonCursor& json, std::string_view name) {
  bool value = false;
  if (json.kind() != Kind::boolean)
    return wrong(json, fmt::format("parameter {}", name), "true or false");
  if (!json.read_boolean(value)) return not_json(json);
  return value;
}

// One scalar into a column.
Result<void> append(JsonCursor& json, std::size_t column, data::BatchBuilder& into) {
  const data::Field& field = into.schema().fields[column];
  const Kind kind = json.kind();
  if (kind == Kind::null) {
    if (!json.read_null()) return not_json(json);
    if (!field.nullable) {
      return invalid_argument(
          "the value is null, and the model was trained on a column without missing values");
    }
    into.append_null(column);
    return {};
  }
  switch (field.type) {
    case data::Type::float64:
    case data::Type::int64: {
      const bool real = field.type == data::Type::float64;
      JsonCursor::Number number;
      if (kind != Kind::number) return wrong(json, "the value", real ? "a number" : "an integer");
      if (!json.read_number(number)) return not_json(json);
      if (real) {
        into.append_real(column, number.real);
      } else if (number.is_integer) {
        into.append_integer(column, number.integer);
      } else if (number.real == std::floor(number.real) &&
                 std::abs(number.real) <= kExactIntegers) {
        into.append_integer(column, static_cast<std::int64_t>(number.real));
      } else {
        return invalid_argument(
            fmt::format("the value is {}, wanted an integer of 64 bits", number.real));
      }
      return {};
    }
    case data::Type::boolean: {
      bool value = false;
      if (kind != Kind::boolean) return wrong(json, "the value", "true or false");
      if (!json.read_boolean(value)) return not_json(json);
      into.append_boolean(column, value);
      return {};
    }
    case data::Type::text: {
      auto text = read_text(json, "the value", "a string");
      if (!text) return text.error();
      into.append_text(column, *text);
      return {};
    }
    case data::Type::timestamp: {
      auto text = read_text(json, "the value", "a time such as \"2013-04-01T05:00:00Z\"");
      if (!text) return text.error();
      auto time = parse_time(*text);
      if (!time) return time.error();
      into.append_integer(column, to_micros(*time));
      return {};
    }
  }
  return internal("unreachable");
}

// [n] or [n, 1], n from 1.
Result<std::int64_t> read_shape(JsonCursor& json) {
  if (json.kind() != Kind::array) return wrong(json, "shape", "an array such as [1]");
  std::vector<std::int64_t> dimensions;
  json.begin_array();
  while (json.next_item()) {
    JsonCursor::Number number;
    if (json.kind() != Kind::number) return wrong(json, "a dimension of the shape", "an integer");
    if (!json.read_number(number)) break;
    if (!number.is_integer)
      return invalid_argument(
          fmt::format("a dimension of the shape is {}, wanted an integer", number.real));
    dimensions.push_back(number.integer);
  }
  if (!json.ok()) return not_json(json);
  return rows_of(dimensions);
}

// Reads the tensors of a request into the rows of an inference.
class Tensors {
 public:
  Tensors(const serving::Served& served, const serving::Target& target, data::BatchBuilder& into,
          std::string_view binary)
      : columns_(served, target, into), binary_(binary) {}

  Result<void> read(JsonCursor& json) {
    if (given_) return invalid_argument("inputs is there twice");
    given_ = true;
    if (json.kind() != Kind::array) return wrong(json, "inputs", "an array of tensors");
    json.begin_array();
    while (json.next_item()) {
      if (json.kind() != Kind::object) {
        return wrong(json, "an entry of inputs", "an object with name, shape, datatype and data");
      }
      Tensor tensor;
      if (auto taken = read_tensor(json, tensor); !taken) {
        if (!json.ok() || !tensor.name) return taken;
        return Error{taken.error().code,
                     fmt::format("input '{}': {}", *tensor.name, taken.error().message)};
      }
    }
    if (!json.ok()) return not_json(json);
    return {};
  }

  Result<void> finish() {
    if (!given_) return invalid_argument("the request has no inputs");
    if (!binary_.empty()) {
      return invalid_argument(fmt::format(
          "{} bytes follow the JSON that no input's binary_data_size covers", binary_.size()));
    }
    return columns_.finish();
  }

  std::int64_t rows() const { return columns_.rows(); }

 private:
  // What is known of a tensor so far. Its members come in any order, mostly data last.
  struct Tensor {
    std::optional<std::string> name;
    std::optional<std::string> datatype;
    std::optional<std::int64_t> rows;
    std::optional<std::size_t> column;  // once bound
    std::string_view early_data;        // text of data that came before the other members
    std::optional<std::int64_t> binary_size;
    bool filled = false;
  };

  Result<void> read_tensor(JsonCursor& json, Tensor& tensor) {
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
      if (auto read = read_member(json, key, tensor); !read) return read;
    }
    if (!json.ok()) return not_json(json);
    if (!tensor.name) return invalid_argument("an entry of inputs has no name");
    if (auto bound = bind(tensor); !bound) return bound;
    if (tensor.binary_size) {
      if (tensor.filled || !tensor.early_data.empty())
        return invalid_argument("it has both data and binary_data_size");
      return fill_binary(tensor);
    }
    if (!tensor.early_data.empty()) {
      JsonCursor data(tensor.early_data, kMaxDepth);
      return fill(data, tensor);
    }
    if (!tensor.filled) return invalid_argument("it has no data");
    return {};
  }

  Result<void> read_member(JsonCursor& json, std::string_view key, Tensor& tensor) {
    if (key == "name") {
      auto text = read_text(json, "the name of an input", "a string");
      if (!text) return text.error();
      tensor.name = *text;
      return {};
    }
    if (key == "shape") {
      auto rows = read_shape(json);
      if (!rows) return rows.error();
      tensor.rows = *rows;
      return {};
    }
    if (key == "datatype") {
      auto text = read_text(json, "datatype", "a string such as \"FP64\"");
      if (!text) return text.error();
      tensor.datatype = *text;
      return {};
    }
    if (key == "data") {
      if (tensor.filled || !tensor.early_data.empty())
        return invalid_argument("its data is there twice");
      if (!tensor.name || !tensor.rows || !tensor.datatype) {
        tensor.early_data = json.take();
        return json.ok() ? Result<void>() : not_json(json);
      }
      if (auto bound = bind(tensor); !bound) return bound;
      return fill(json, tensor);
    }
    if (key == "parameters") return read_parameters(json, tensor);
    return json.skip() ? Result<void>() : not_json(json);
  }

  static Result<void> read_parameters(JsonCursor& json, Tensor& tensor) {
    if (json.kind() != Kind::object) return wrong(json, "parameters", "an object");
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
      if (key != "binary_data_size") {
        json.skip();
        continue;
      }
      JsonCursor::Number number;
      if (json.kind() != Kind::number) return wrong(json, "binary_data_size", "a count of bytes");
      if (!json.read_number(number)) break;
      if (!number.is_integer || number.integer < 0) {
        return invalid_argument(
            fmt::format("binary_data_size is {}, wanted a count of bytes", number.real));
      }
      tensor.binary_size = number.integer;
    }
    return json.ok() ? Result<void>() : not_json(json);
  }

  // Finds the column and checks that the tensor fits it.
  Result<void> bind(Tensor& tensor) {
    if (tensor.column) return {};
    if (!tensor.rows) return invalid_argument("it has no shape");
    if (!tensor.datatype) return invalid_argument("it has no datatype");
    auto column = columns_.bind(*tensor.name, *tensor.datatype, *tensor.rows);
    if (!column) return column.error();
    tensor.column = *column;
    return {};
  }

  Result<void> fill(JsonCursor& json, Tensor& tensor) {
    if (json.kind() != Kind::array) return wrong(json, "data", "an array");
    std::int64_t row = 0;
    if (auto filled = fill_array(json, *tensor.column, row); !filled) return filled;
    if (!json.ok()) return not_json(json);
    if (row < columns_.rows()) {
      return invalid_argument(
          fmt::format("its shape says {} values, its data has {}", columns_.rows(), row));
    }
    tensor.filled = true;
    return {};
  }

  // Flat or nested as the shape says: the values in row-major order.
  Result<void> fill_array(JsonCursor& json, std::size_t column, std::int64_t& row) {
    json.begin_array();
    while (json.next_item()) {
      if (json.kind() == Kind::array) {
        if (auto filled = fill_array(json, column, row); !filled) return filled;
        continue;
      }
      if (!json.ok()) return not_json(json);
      if (row >= columns_.rows()) {
        return invalid_argument(
            fmt::format("its shape says {} values, its data has more", columns_.rows()));
      }
      if (auto appended = append(json, column, columns_.into()); !appended) {
        if (!json.ok()) return appended;
        return Error{appended.error().code,
                     fmt::format("row {}: {}", row, appended.error().message)};
      }
      ++row;
    }
    return {};
  }

  Result<void> fill_binary(const Tensor& tensor) {
    const auto size = static_cast<std::uint64_t>(*tensor.binary_size);
    if (size > binary_.size()) {
      return invalid_argument(fmt::format(
          "binary_data_size is {}, but only {} bytes are left in the body", size, binary_.size()));
    }
    const auto bytes = binary_.substr(0, static_cast<std::size_t>(size));
    binary_.remove_prefix(bytes.size());
    return read_binary(*tensor.datatype, bytes, columns_.rows(), *tensor.column, columns_.into());
  }

  InputColumns columns_;
  std::string_view binary_;
  bool given_ = false;
};

// The outputs that a request names, and in which form it wants them.
class Outputs {
 public:
  explicit Outputs(const serving::Target& target) : available_(outputs_of(target)) {}

  Result<void> read(JsonCursor& json) {
    if (json.kind() != Kind::array) return wrong(json, "outputs", "an array");
    json.begin_array();
    while (json.next_item()) {
      if (json.kind() != Kind::object)
        return wrong(json, "an entry of outputs", "an object with a name");
      if (auto taken = read_output(json); !taken) return taken;
    }
    return json.ok() ? Result<void>() : not_json(json);
  }

  Result<void> read_parameters(JsonCursor& json) {
    if (json.kind() != Kind::object) return wrong(json, "parameters", "an object");
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
      if (key == "timeout") {
        if (auto read = read_timeout(json); !read) return read;
        continue;
      }
      if (key != "binary_data_output" && key != "contributions") {
        json.skip();
        continue;
      }
      auto flag = read_flag(json, key);
      if (!flag) return flag.error();
      (key == "contributions" ? contributions_ : all_binary_) = *flag;
    }
    return json.ok() ? Result<void>() : not_json(json);
  }

  std::chrono::microseconds timeout() const { return timeout_; }

  std::vector<WantedOutput> wanted() const {
    std::vector<WantedOutput> list;
    for (const auto& [output, binary] : named_)
      list.push_back({.output = output, .binary = binary.value_or(all_binary_)});
    if (list.empty()) {
      for (const Output output : available_) {
        if (output != Output::contributions)
          list.push_back({.output = output, .binary = all_binary_});
      }
    }
    if (contributions_ &&
        std::ranges::find(list, Output::contributions, &WantedOutput::output) == list.end()) {
      list.push_back({.output = Output::contributions, .binary = all_binary_});
    }
    return list;
  }

 private:
  // Of Triton's schedule_policy extension: microseconds; 0 is none.
  Result<void> read_timeout(JsonCursor& json) {
    JsonCursor::Number number;
    if (json.kind() != Kind::number) return wrong(json, "parameter timeout", "microseconds");
    if (!json.read_number(number)) return not_json(json);
    if (!number.is_integer || number.integer < 0) {
      return invalid_argument(
          fmt::format("parameter timeout is {}, wanted microseconds from 0 on", number.real));
    }
    timeout_ = std::chrono::microseconds(std::min(number.integer, kLongestTimeout));
    return {};
  }

  Result<void> read_output(JsonCursor& json) {
    std::optional<Output> output;
    std::optional<bool> binary;
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
      if (key == "name") {
        auto name = read_text(json, "the name of an output", "a string");
        if (!name) return name.error();
        auto found = find_output(available_, *name);
        if (!found) return found.error();
        output = *found;
      } else if (key == "parameters") {
        if (auto read = read_output_parameters(json, binary); !read) return read;
      } else {
        json.skip();
      }
    }
    if (!json.ok()) return not_json(json);
    if (!output) return invalid_argument("an entry of outputs has no name");
    named_.emplace_back(*output, binary);
    return {};
  }

  static Result<void> read_output_parameters(JsonCursor& json, std::optional<bool>& binary) {
    if (json.kind() != Kind::object) return wrong(json, "parameters of an output", "an object");
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
      if (key == "classification") {
        return invalid_argument(
            "the classification extension is not offered; the output 'label' is the class");
      }
      if (key != "binary_data") {
        json.skip();
        continue;
      }
      auto flag = read_flag(json, key);
      if (!flag) return flag.error();
      binary = *flag;
    }
    return json.ok() ? Result<void>() : not_json(json);
  }

  std::vector<Output> available_;
  std::vector<std::pair<Output, std::optional<bool>>> named_;
  bool all_binary_ = false;
  std::chrono::microseconds timeout_{0};
  bool contributions_ = false;  // the request's parameter
};

Result<std::string> read_id(JsonCursor& json) {
  auto id = read_text(json, "id", "a string");
  if (!id) return id.error();
  if (auto sound = check_id(*id); !sound) return sound.error();
  return std::string(*id);
}

Result<std::size_t> json_length(const server::Request& request) {
  const std::string_view header = request.header("inference-header-content-length");
  if (header.empty()) return request.body.size();
  std::size_t length = 0;
  const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), length);
  if (error != std::errc() || end != header.data() + header.size() || length == 0 ||
      length > request.body.size()) {
    return invalid_argument(
        fmt::format("the header Inference-Header-Content-Length is '{}', wanted the length of the "
                    "JSON, 1 to {} bytes",
                    header, request.body.size()));
  }
  return length;
}

}  // namespace

Result<InferRequest> parse_infer(const server::Request& request, serving::Inference& inference) {
  auto length = json_length(request);
  if (!length) return length.error();
  if (*length == 0)
    return invalid_argument(
        "the body is empty, wanted the JSON of an infer request: {\"inputs\": [...]}");
  const std::string_view body = request.body;
  JsonCursor json(body.substr(0, *length), kMaxDepth);
  if (json.kind() != Kind::object) return wrong(json, "the body", "an object with inputs");

  InferRequest parsed;
  Outputs outputs(*inference.target);
  Tensors tensors(*inference.served, *inference.target, inference.rows, body.substr(*length));
  json.begin_object();
  for (std::string_view key; json.next_key(key);) {
    Result<void> read;
    if (key == "inputs") {
      read = tensors.read(json);
    } else if (key == "outputs") {
      read = outputs.read(json);
    } else if (key == "parameters") {
      read = outputs.read_parameters(json);
    } else if (key == "id") {
      auto id = read_id(json);
      if (!id) return id.error();
      parsed.id = std::move(*id);
    } else {
      json.skip();
    }
    if (!read) return read.error();
  }
  if (!json.finish()) return not_json(json);
  if (auto finished = tensors.finish(); !finished) return finished.error();
  parsed.outputs = outputs.wanted();
  inference.explain = std::ranges::find(parsed.outputs, Output::contributions,
                                        &WantedOutput::output) != parsed.outputs.end();
  parsed.rows = tensors.rows();
  parsed.timeout = outputs.timeout();
  return parsed;
}

}  // namespace slipway::api
