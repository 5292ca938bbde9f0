#include "api/grpc_messages_internal.h"

#include <fmt/ranges.h>

#include "api/inference_inputs_internal.h"

namespace slipway::api {
namespace {

using Tensor = ::inference::ModelInferRequest::InferInputTensor;
using Contents = ::inference::InferTensorContents;

// Which field of the contents holds values of a datatype; null for those that have a raw form only.
struct TypedField {
  std::string_view datatype;
  std::string_view field;
  int (*size)(const Contents&);
  // The value at a place, appended to a column.
  void (*append)(const Contents&, int, std::size_t, data::BatchBuilder&);
};

void append_integer_to(std::int64_t value, std::size_t column, data::BatchBuilder& into) {
  if (into.schema().fields[column].type == data::Type::float64) {
    into.append_real(column, static_cast<double>(value));
  } else {
    into.append_integer(column, value);
  }
}

constexpr auto kIntSize = [](const Contents& c) { return c.int_contents_size(); };
constexpr auto kIntAppend = [](const Contents& c, int i, std::size_t column,
                               data::BatchBuilder& into) {
  append_integer_to(c.int_contents(i), column, into);
};
constexpr auto kUintSize = [](const Contents& c) { return c.uint_contents_size(); };
constexpr auto kUintAppend = [](const Contents& c, int i, std::size_t column,
                                data::BatchBuilder& into) {
  append_integer_to(c.uint_contents(i), column, into);
};

constexpr std::array kIntegerFields = {
    TypedField{"INT8", "int_contents", kIntSize, kIntAppend},
    TypedField{"INT16", "int_contents", kIntSize, kIntAppend},
    TypedField{"INT32", "int_contents", kIntSize, kIntAppend},
    TypedField{"UINT8", "uint_contents", kUintSize, kUintAppend},
    TypedField{"UINT16", "uint_contents", kUintSize, kUintAppend},
    TypedField{"UINT32", "uint_contents", kUintSize, kUintAppend},
};

template <class Values>
std::string_view bytes_of(const Values& values) {
  return {reinterpret_cast<const char*>(values.data()),
          static_cast<std::size_t>(values.size()) * sizeof(values.Get(0))};
}

Error other_field(const Tensor& tensor, std::string_view field) {
  return invalid_argument(
      fmt::format("values of datatype {} belong into {}, or into raw_input_contents",
                  tensor.datatype(), field));
}

// How many values the contents have in all their fields.
int values_in(const Contents& c) {
  return c.bool_contents_size() + c.int_contents_size() + c.int64_contents_size() +
         c.uint_contents_size() + c.uint64_contents_size() + c.fp32_contents_size() +
         c.fp64_contents_size() + c.bytes_contents_size();
}

Result<void> counted(const Tensor& tensor, std::string_view field, int in_field,
                     std::int64_t rows) {
  if (in_field == 0 && values_in(tensor.contents()) > 0) return other_field(tensor, field);
  if (in_field != rows || values_in(tensor.contents()) != in_field) {
    return invalid_argument(fmt::format("its shape says {} values, its contents have {}", rows,
                                        values_in(tensor.contents())));
  }
  return {};
}

Result<void> read_texts(const Tensor& tensor, std::size_t column, data::BatchBuilder& into) {
  const bool text = into.schema().fields[column].type == data::Type::text;
  for (const std::string& value : tensor.contents().bytes_contents()) {
    if (text) {
      into.append_text(column, value);
      continue;
    }
    auto time = parse_time(value);
    if (!time) return time.error();
    into.append_integer(column, to_micros(*time));
  }
  return {};
}

Result<void> read_contents(const Tensor& tensor, std::int64_t rows, std::size_t column,
                           data::BatchBuilder& into) {
  const std::string& datatype = tensor.datatype();
  const Contents& contents = tensor.contents();
  const auto wide = [&](std::string_view field, const auto& values) -> Result<void> {
    if (auto fine = counted(tensor, field, values.size(), rows); !fine) return fine;
    return read_binary(datatype, bytes_of(values), rows, column, into);
  };
  if (datatype == "FP32") return wide("fp32_contents", contents.fp32_contents());
  if (datatype == "FP64") return wide("fp64_contents", contents.fp64_contents());
  if (datatype == "INT64") return wide("int64_contents", contents.int64_contents());
  if (datatype == "UINT64") return wide("uint64_contents", contents.uint64_contents());
  if (datatype == "BOOL") return wide("bool_contents", contents.bool_contents());
  if (datatype == "BYTES") {
    if (auto fine = counted(tensor, "bytes_contents", contents.bytes_contents_size(), rows); !fine)
      return fine;
    return read_texts(tensor, column, into);
  }
  const auto field = std::ranges::find(kIntegerFields, datatype, &TypedField::datatype);
  if (field == kIntegerFields.end()) {
    return invalid_argument(
        fmt::format("datatype {} has no typed contents: send raw_input_contents", datatype));
  }
  if (auto fine = counted(tensor, field->field, field->size(contents), rows); !fine) return fine;
  for (int i = 0; i < field->size(contents); ++i) field->append(contents, i, column, into);
  return {};
}

Result<void> read_input(const Tensor& tensor, const std::string* raw, InputColumns& columns) {
  auto rows = rows_of({tensor.shape().data(), static_cast<std::size_t>(tensor.shape_size())});
  if (!rows) return rows.error();
  auto column = columns.bind(tensor.name(), tensor.datatype(), *rows);
  if (!column) return column.error();
  if (raw == nullptr) return read_contents(tensor, *rows, *column, columns.into());
  if (tensor.has_contents() && values_in(tensor.contents()) > 0)
    return invalid_argument("it has both contents and raw_input_contents");
  return read_binary(tensor.datatype(), *raw, *rows, *column, columns.into());
}

Result<std::vector<WantedOutput>> read_outputs(const ::inference::ModelInferRequest& message,
                                               const serving::Target& target) {
  const std::vector<Output> available = outputs_of(target);
  std::vector<WantedOutput> wanted;
  for (const auto& output : message.outputs()) {
    if (output.parameters().contains("classification")) {
      return invalid_argument(
          "the classification extension is not offered; the output 'label' is the class");
    }
    auto found = find_output(available, output.name());
    if (!found) return found.error();
    wanted.push_back({.output = *found});
  }
  if (!wanted.empty()) return wanted;
  for (const Output output : available) {
    if (output != Output::contributions) wanted.push_back({.output = output});
  }
  return wanted;
}

Result<std::chrono::microseconds> read_timeout(const ::inference::ModelInferRequest& message) {
  const auto found = message.parameters().find("timeout");
  if (found == message.parameters().end()) return std::chrono::microseconds{0};
  const ::inference::InferParameter& parameter = found->second;
  if (parameter.parameter_choice_case() == ::inference::InferParameter::kUint64Param)
    return std::chrono::microseconds(
        static_cast<std::int64_t>(std::min<std::uint64_t>(parameter.uint64_param(), 1ULL << 40)));
  if (parameter.parameter_choice_case() != ::inference::InferParameter::kInt64Param ||
      parameter.int64_param() < 0) {
    return invalid_argument("parameter timeout wants microseconds from 0 on");
  }
  return std::chrono::microseconds(parameter.int64_param());
}

}  // namespace

Result<InferRequest> read_message(const ::inference::ModelInferRequest& message,
                                  serving::Inference& inference) {
  if (auto sound = check_id(message.id()); !sound) return sound.error();
  InferRequest request{.id = message.id()};
  const int raws = message.raw_input_contents_size();
  if (raws > 0 && raws != message.inputs_size()) {
    return invalid_argument(fmt::format(
        "there are {} inputs and {} raw_input_contents; each input has one, or none has",
        message.inputs_size(), raws));
  }
  if (message.inputs_size() == 0) return invalid_argument("the request has no inputs");
  InputColumns columns(*inference.served, *inference.target, inference.rows);
  for (int i = 0; i < message.inputs_size(); ++i) {
    const Tensor& tensor = message.inputs(i);
    const std::string* raw = raws > 0 ? &message.raw_input_contents(i) : nullptr;
    if (auto read = read_input(tensor, raw, columns); !read) {
      return Error{read.error().code,
                   fmt::format("input '{}': {}", tensor.name(), read.error().message)};
    }
  }
  if (auto finished = columns.finish(); !finished) return finished.error();
  auto outputs = read_outputs(message, *inference.target);
  if (!outputs) return outputs.error();
  request.outputs = std::move(*outputs);
  inference.explain = std::ranges::find(request.outputs, Output::contributions,
                                        &WantedOutput::output) != request.outputs.end();
  auto timeout = read_timeout(message);
  if (!timeout) return timeout.error();
  request.timeout = *timeout;
  request.rows = columns.rows();
  return request;
}

void write_message(const InferRequest& request, const serving::Inference& inference, bool raw,
                   ::inference::ModelInferResponse& message) {
  message.set_model_name(inference.served->deployment().name);
  message.set_model_version(std::to_string(inference.target->version.number));
  message.set_id(request.id);
  (*message.mutable_parameters())["prediction_ids"].set_string_param(
      fmt::format("{}", fmt::join(inference.ids, ",")));
  for (const auto& [output, binary] : request.outputs) {
    auto& tensor = *message.add_outputs();
    tensor.set_name(std::string(to_string(output)));
    tensor.set_datatype(std::string(datatype_of(output)));
    for (const std::int64_t size : shape_of(output, inference)) tensor.add_shape(size);
    const std::span<const double> numbers = numbers_of(output, inference);
    if (output == Output::label) {
      std::vector<std::int64_t> labels;
      labels.reserve(numbers.size());
      for (const double score : numbers) labels.push_back(label_of(score, inference));
      if (raw) {
        message.add_raw_output_contents(labels.data(), labels.size() * sizeof(labels[0]));
      } else {
        tensor.mutable_contents()->mutable_int64_contents()->Assign(labels.begin(), labels.end());
      }
    } else if (raw) {
      message.add_raw_output_contents(numbers.data(), numbers.size_bytes());
    } else {
      tensor.mutable_contents()->mutable_fp64_contents()->Assign(numbers.begin(), numbers.end());
    }
  }
}

}  // namespace slipway::api
