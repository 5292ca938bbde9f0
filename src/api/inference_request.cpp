#include <fmt/ranges.h>
#include <simdjson.h>

#include "api/inference_internal.h"
#include "base/spec.h"

namespace slipway::api {
namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxId = 256;
constexpr std::size_t kKeptParser =
    4 * 1024 * 1024;  // a thread's parser gives back what a larger body made it take

std::string_view kind_of(dom::element element) {
  switch (element.type()) {
    case dom::element_type::ARRAY:
      return "an array";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::STRING:
      return "a string";
    case dom::element_type::BOOL:
      return "a boolean";
    case dom::element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

Error wrong(std::string_view what, dom::element got, std::string_view wanted) {
  return invalid_argument(fmt::format("{} is {}, wanted {}", what, kind_of(got), wanted));
}

// The elements of `data`, flat or nested as the shape says, in row-major order.
template <class F>
Result<void> flatten(dom::array array, F&& visit) {
  for (const dom::element element : array) {
    if (element.type() == dom::element_type::ARRAY) {
      if (auto done = flatten(dom::array(element), visit); !done) return done;
    } else if (auto done = visit(element); !done) {
      return done;
    }
  }
  return {};
}

Result<void> append(dom::element element, std::size_t column, data::BatchBuilder& into) {
  const data::Field& field = into.schema().fields[column];
  const auto type = element.type();
  if (type == dom::element_type::NULL_VALUE) {
    if (!field.nullable)
      return invalid_argument(
          "the value is null, and the model was trained on a column without missing values");
    into.append_null(column);
    return {};
  }
  switch (field.type) {
    case data::Type::float64:
      if (type == dom::element_type::DOUBLE) {
        into.append_real(column, double(element));
        return {};
      }
      if (type == dom::element_type::INT64) {
        into.append_real(column, static_cast<double>(std::int64_t(element)));
        return {};
      }
      if (type == dom::element_type::UINT64) {
        into.append_real(column, static_cast<double>(std::uint64_t(element)));
        return {};
      }
      return wrong("the value", element, "a number");
    case data::Type::int64:
      if (type == dom::element_type::INT64) {
        into.append_integer(column, std::int64_t(element));
        return {};
      }
      if (type == dom::element_type::DOUBLE) {
        const double value(element);
        if (value == std::floor(value) && std::abs(value) <= 9007199254740992.0) {
          into.append_integer(column, static_cast<std::int64_t>(value));
          return {};
        }
        return invalid_argument(fmt::format("the value is {}, wanted an integer", value));
      }
      if (type == dom::element_type::UINT64)
        return invalid_argument("the value is larger than a 64-bit integer");
      return wrong("the value", element, "an integer");
    case data::Type::boolean:
      if (type != dom::element_type::BOOL) return wrong("the value", element, "true or false");
      into.append_boolean(column, bool(element));
      return {};
    case data::Type::text:
      if (type != dom::element_type::STRING) return wrong("the value", element, "a string");
      into.append_text(column, std::string_view(element));
      return {};
    case data::Type::timestamp: {
      if (type != dom::element_type::STRING)
        return wrong("the value", element, "a time such as \"2013-04-01T05:00:00Z\"");
      auto time = parse_time(std::string_view(element));
      if (!time) return time.error();
      into.append_integer(column, to_micros(*time));
      return {};
    }
  }
  return internal("unreachable");
}

// [n] or [n, 1], n from 1.
Result<std::int64_t> rows_of_shape(dom::element shape) {
  dom::array array;
  if (shape.get(array) != simdjson::SUCCESS) return wrong("shape", shape, "an array such as [1]");
  std::vector<std::int64_t> dimensions;
  for (const dom::element element : array) {
    std::int64_t dimension = 0;
    if (element.get(dimension) != simdjson::SUCCESS)
      return wrong("a dimension of the shape", element, "an integer");
    dimensions.push_back(dimension);
  }
  const bool column = dimensions.size() == 1 || (dimensions.size() == 2 && dimensions[1] == 1);
  if (!column || dimensions[0] < 1) {
    return invalid_argument(
        fmt::format("shape is [{}], wanted [n] or [n, 1] with n rows, at least one",
                    fmt::join(dimensions, ", ")));
  }
  return dimensions[0];
}

struct Body {
  dom::object json;
  std::string_view binary;  // what follows the JSON
};

class Tensors {
 public:
  Tensors(const serving::Served& served, const serving::Target& target, data::BatchBuilder& into,
          std::string_view binary)
      : served_(served),
        target_(target),
        into_(into),
        binary_(binary),
        seen_(served.columns().fields.size(), false) {}

  Result<void> take(dom::element element) {
    dom::object tensor;
    if (element.get(tensor) != simdjson::SUCCESS)
      return wrong("an entry of inputs", element, "an object with name, shape, datatype and data");
    // One walk over the members, which nearly always come in this order.
    std::optional<dom::element> name;
    std::optional<dom::element> shape;
    std::optional<dom::element> datatype;
    std::optional<dom::element> data;
    std::optional<dom::element> parameters;
    for (const auto& [key, value] : tensor) {
      if (key == "name") name = value;
      if (key == "shape") shape = value;
      if (key == "datatype") datatype = value;
      if (key == "data") data = value;
      if (key == "parameters") parameters = value;
    }
    if (!name) return invalid_argument("an entry of inputs has no name");
    std::string_view text;
    if (name->get(text) != simdjson::SUCCESS)
      return wrong("the name of an input", *name, "a string");
    if (auto taken = take_named(text, shape, datatype, data, parameters); !taken) {
      return Error{taken.error().code, fmt::format("input '{}': {}", text, taken.error().message)};
    }
    return {};
  }

  Result<void> finish() {
    if (!binary_.empty()) {
      return invalid_argument(fmt::format(
          "{} bytes follow the JSON that no input's binary_data_size covers", binary_.size()));
    }
    std::vector<std::string> missing;
    for (const std::size_t column : served_.required(target_)) {
      if (!seen_[column])
        missing.push_back(fmt::format("'{}'", served_.columns().fields[column].name));
    }
    if (!missing.empty()) {
      const std::size_t count = missing.size();
      if (count > 8) missing.resize(8);
      return invalid_argument(
          fmt::format("the request lacks {} of the model's {} inputs: {}{}; a value that is not "
                      "known is sent as null",
                      count, served_.required(target_).size(), fmt::join(missing, ", "),
                      count > 8 ? " …" : ""));
    }
    for (std::size_t column = 0; column < seen_.size(); ++column) {
      if (seen_[column]) continue;
      for (std::int64_t row = 0; row < rows_; ++row) into_.append_null(column);
    }
    return {};
  }

  std::int64_t rows() const { return rows_; }

 private:
  Result<void> take_named(std::string_view name, const std::optional<dom::element>& shape,
                          const std::optional<dom::element>& datatype,
                          const std::optional<dom::element>& data,
                          const std::optional<dom::element>& parameters) {
    const auto column = place(name);
    if (!column) {
      const auto near = nearest(name, served_.columns().names());
      return invalid_argument(
          near ? fmt::format("the model has no such input; did you mean '{}'?", *near)
               : std::string("the model has no such input; GET of the model lists them"));
    }
    if (seen_[*column]) return invalid_argument("it is there twice");
    if (!shape) return invalid_argument("it has no shape");
    if (!datatype) return invalid_argument("it has no datatype");
    auto rows = rows_of_shape(*shape);
    if (!rows) return rows.error();
    if (rows_ != 0 && *rows != rows_) {
      return invalid_argument(
          fmt::format("its shape says {} rows, an input before it {}", *rows, rows_));
    }
    std::string_view type;
    if (datatype->get(type) != simdjson::SUCCESS)
      return wrong("datatype", *datatype, "a string such as \"FP64\"");
    if (auto fits = check_datatype(type, served_.columns().fields[*column].type); !fits)
      return fits;
    rows_ = *rows;
    seen_[*column] = true;

    std::optional<std::int64_t> size;
    if (parameters) {
      dom::object object;
      if (parameters->get(object) != simdjson::SUCCESS)
        return wrong("parameters", *parameters, "an object");
      dom::element value;
      if (object["binary_data_size"].get(value) == simdjson::SUCCESS) {
        std::int64_t number = 0;
        if (value.get(number) != simdjson::SUCCESS || number < 0)
          return invalid_argument("binary_data_size is no count of bytes");
        size = number;
      }
    }
    if (size) {
      if (data) return invalid_argument("it has both data and binary_data_size");
      if (static_cast<std::uint64_t>(*size) > binary_.size()) {
        return invalid_argument(
            fmt::format("binary_data_size is {}, but only {} bytes are left in the body", *size,
                        binary_.size()));
      }
      const auto bytes = binary_.substr(0, static_cast<std::size_t>(*size));
      binary_.remove_prefix(bytes.size());
      return read_binary(type, bytes, rows_, *column, into_);
    }
    if (!data) return invalid_argument("it has no data");
    dom::array array;
    if (data->get(array) != simdjson::SUCCESS) return wrong("data", *data, "an array");
    std::int64_t row = 0;
    auto filled = flatten(array, [&](dom::element element) -> Result<void> {
      if (row >= rows_)
        return invalid_argument(fmt::format("its shape says {} values, its data has more", rows_));
      if (auto appended = append(element, *column, into_); !appended) {
        return Error{appended.error().code,
                     fmt::format("row {}: {}", row, appended.error().message)};
      }
      ++row;
      return {};
    });
    if (!filled) return filled;
    if (row < rows_)
      return invalid_argument(fmt::format("its shape says {} values, its data has {}", rows_, row));
    return {};
  }

  // Inputs mostly come in the order of the signature.
  std::optional<std::size_t> place(std::string_view name) {
    const auto& fields = served_.columns().fields;
    if (next_ < fields.size() && fields[next_].name == name) return next_++;
    const auto found = served_.column(name);
    if (found) next_ = *found + 1;
    return found;
  }

  const serving::Served& served_;
  const serving::Target& target_;
  data::BatchBuilder& into_;
  std::string_view binary_;
  std::vector<bool> seen_;
  std::size_t next_ = 0;
  std::int64_t rows_ = 0;
};

Result<bool> flag(dom::object object, std::string_view name) {
  dom::element value;
  if (object[name].get(value) != simdjson::SUCCESS) return false;
  bool set = false;
  if (value.get(set) != simdjson::SUCCESS)
    return wrong(fmt::format("parameter {}", name), value, "true or false");
  return set;
}

Result<std::vector<WantedOutput>> wanted_outputs(dom::object json, const serving::Target& target) {
  const auto available = outputs_of(target);
  bool all_binary = false;
  dom::element element;
  if (json["parameters"].get(element) == simdjson::SUCCESS) {
    dom::object parameters;
    if (element.get(parameters) != simdjson::SUCCESS)
      return wrong("parameters", element, "an object");
    auto binary = flag(parameters, "binary_data_output");
    if (!binary) return binary.error();
    all_binary = *binary;
  }
  std::vector<WantedOutput> wanted;
  dom::array outputs;
  if (json["outputs"].get(element) == simdjson::SUCCESS) {
    if (element.get(outputs) != simdjson::SUCCESS) return wrong("outputs", element, "an array");
    for (const dom::element entry : outputs) {
      dom::object output;
      std::string_view name;
      if (entry.get(output) != simdjson::SUCCESS)
        return wrong("an entry of outputs", entry, "an object with a name");
      if (output["name"].get(name) != simdjson::SUCCESS)
        return invalid_argument("an entry of outputs has no name");
      const auto found =
          std::ranges::find(available, name, [](Output one) { return to_string(one); });
      if (found == available.end()) {
        std::vector<std::string_view> names;
        for (const Output one : available) names.push_back(to_string(one));
        return invalid_argument(
            fmt::format("the model has no output '{}'; it has {}", name, fmt::join(names, ", ")));
      }
      WantedOutput one{.output = *found, .binary = all_binary};
      dom::element value;
      if (output["parameters"].get(value) == simdjson::SUCCESS) {
        dom::object parameters;
        if (value.get(parameters) != simdjson::SUCCESS)
          return wrong("parameters of an output", value, "an object");
        if (dom::element set; parameters["binary_data"].get(set) == simdjson::SUCCESS) {
          auto binary = flag(parameters, "binary_data");
          if (!binary) return binary.error();
          one.binary = *binary;
        }
        if (parameters["classification"].error() == simdjson::SUCCESS) {
          return invalid_argument(
              "the classification extension is not offered; the output 'label' is the class");
        }
      }
      wanted.push_back(one);
    }
  }
  if (wanted.empty()) {
    for (const Output one : available) wanted.push_back({.output = one, .binary = all_binary});
  }
  return wanted;
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
  thread_local dom::parser parser;
  auto length = json_length(request);
  if (!length) return length.error();
  if (*length == 0)
    return invalid_argument(
        "the body is empty, wanted the JSON of an infer request: {\"inputs\": [...]}");
  if (parser.capacity() < *length || parser.max_depth() != kMaxDepth) {
    if (parser.allocate(std::max<std::size_t>(*length, 64 * 1024), kMaxDepth) !=
        simdjson::SUCCESS) {
      return resource_exhausted("no memory to parse the request");
    }
  }
  struct Shrink {
    dom::parser& parser;
    ~Shrink() {
      if (parser.capacity() > kKeptParser) parser = dom::parser();
    }
  } const shrink{parser};

  dom::element root;
  if (const auto error = parser.parse(request.body.data(), *length).get(root);
      error != simdjson::SUCCESS) {
    if (error == simdjson::DEPTH_ERROR) {
      return invalid_argument(
          fmt::format("the JSON of the request is nested deeper than {} levels", kMaxDepth));
    }
    return invalid_argument(
        fmt::format("the body is not JSON: {}", simdjson::error_message(error)));
  }
  dom::object json;
  if (root.get(json) != simdjson::SUCCESS) return wrong("the body", root, "an object with inputs");

  InferRequest parsed;
  dom::element element;
  if (json["id"].get(element) == simdjson::SUCCESS) {
    std::string_view id;
    if (element.get(id) != simdjson::SUCCESS) return wrong("id", element, "a string");
    if (id.size() > kMaxId)
      return invalid_argument(
          fmt::format("id has {} bytes, at most {} are taken", id.size(), kMaxId));
    parsed.id = id;
  }
  auto outputs = wanted_outputs(json, *inference.target);
  if (!outputs) return outputs.error();
  parsed.outputs = std::move(*outputs);

  dom::array inputs;
  if (json["inputs"].get(element) != simdjson::SUCCESS)
    return invalid_argument("the request has no inputs");
  if (element.get(inputs) != simdjson::SUCCESS)
    return wrong("inputs", element, "an array of tensors");
  Tensors tensors(*inference.served, *inference.target, inference.rows,
                  std::string_view(request.body).substr(*length));
  for (const dom::element tensor : inputs) {
    if (auto taken = tensors.take(tensor); !taken) return taken.error();
  }
  if (auto finished = tensors.finish(); !finished) return finished.error();
  parsed.rows = tensors.rows();
  return parsed;
}

}  // namespace slipway::api
