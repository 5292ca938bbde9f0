#include "api/inference_internal.h"

namespace slipway::api {
namespace {

template <class T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_values(std::string& out, Output output, const serving::Inference& inference) {
  bool first = true;
  for (const double score : numbers_of(output, inference)) {
    if (!std::exchange(first, false)) out.push_back(',');
    if (!std::isfinite(score)) {
      out += "null";  // JSON has no NaN
    } else if (output == Output::label) {
      fmt::format_to(std::back_inserter(out), "{}", label_of(score, inference));
    } else {
      fmt::format_to(std::back_inserter(out), "{}",
                     score);  // the shortest that reads back the same
    }
  }
}

void append_binary(std::string& out, Output output, const serving::Inference& inference) {
  for (const double score : numbers_of(output, inference)) {
    if (output == Output::label) {
      append_raw(out, label_of(score, inference));
    } else {
      append_raw(out, score);
    }
  }
}

}  // namespace

// One number a row is P(class 1); of several classes it is the class.
std::int64_t label_of(double score, const serving::Inference& inference) {
  if (inference.target->scorer->width() > 1) return static_cast<std::int64_t>(score);
  return score >= inference.served->deployment().threshold ? 1 : 0;
}

// The numbers of an output, row-major.
std::span<const double> numbers_of(Output output, const serving::Inference& inference) {
  if (output == Output::contributions) return inference.contributions;
  if (output == Output::label || inference.target->scorer->width() == 1) return inference.scores;
  return inference.values;
}

std::vector<std::int64_t> shape_of(Output output, const serving::Inference& inference) {
  const std::size_t rows = inference.scores.size();
  const std::size_t width = inference.target->scorer->width();
  std::vector<std::int64_t> shape{static_cast<std::int64_t>(rows)};
  if (width > 1 && output != Output::label) shape.push_back(static_cast<std::int64_t>(width));
  if (output == Output::contributions) {
    shape.push_back(
        static_cast<std::int64_t>(rows == 0 ? 0 : inference.contributions.size() / (rows * width)));
  }
  return shape;
}

std::string_view to_string(Output output) {
  switch (output) {
    case Output::probability:
      return "probability";
    case Output::label:
      return "label";
    case Output::prediction:
      return "prediction";
    case Output::contributions:
      return "contributions";
  }
  return "";
}

std::string_view datatype_of(Output output) { return output == Output::label ? "INT64" : "FP64"; }

std::string_view datatype_of(data::Type type) {
  switch (type) {
    case data::Type::boolean:
      return "BOOL";
    case data::Type::int64:
      return "INT64";
    case data::Type::float64:
      return "FP64";
    case data::Type::text:
    case data::Type::timestamp:
      return "BYTES";
  }
  return "";
}

std::vector<Output> outputs_of(const serving::Target& target) {
  std::vector<Output> outputs = {Output::prediction};
  if (target.scorer->is_classifier()) outputs = {Output::probability, Output::label};
  if (!target.scorer->explained().empty()) outputs.push_back(Output::contributions);
  return outputs;
}

void append_json_string(std::string& out, std::string_view text) {
  out.push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

server::Response render_infer(const InferRequest& request, const serving::Inference& inference) {
  const std::size_t rows = inference.scores.size();
  std::string json;
  json.reserve(256 + rows * 64);
  json += R"({"model_name":)";
  append_json_string(json, inference.served->deployment().name);
  fmt::format_to(std::back_inserter(json), R"(,"model_version":"{}")",
                 inference.target->version.number);
  if (!request.id.empty()) {
    json += R"(,"id":)";
    append_json_string(json, request.id);
  }
  json += R"(,"parameters":{"prediction_ids":[)";
  for (std::size_t row = 0; row < rows; ++row) {
    if (row > 0) json.push_back(',');
    append_json_string(json, inference.ids[row]);
  }
  json += R"(]},"outputs":[)";
  std::string binary;
  bool first = true;
  for (const auto& [output, as_binary] : request.outputs) {
    if (!std::exchange(first, false)) json.push_back(',');
    fmt::format_to(std::back_inserter(json), R"({{"name":"{}","datatype":"{}","shape":)",
                   to_string(output), datatype_of(output));
    char bracket = '[';
    for (const std::int64_t size : shape_of(output, inference))
      fmt::format_to(std::back_inserter(json), "{}{}", std::exchange(bracket, ','), size);
    json += "],";
    if (as_binary) {
      const std::size_t before = binary.size();
      append_binary(binary, output, inference);
      fmt::format_to(std::back_inserter(json), R"("parameters":{{"binary_data_size":{}}}}})",
                     binary.size() - before);
    } else {
      json += R"("data":[)";
      append_values(json, output, inference);
      json += "]}";
    }
  }
  json += "]}";
  if (binary.empty()) return server::json_text(200, std::move(json));
  server::Response response{.content_type = "application/octet-stream"};
  response.headers.emplace_back("Inference-Header-Content-Length", std::to_string(json.size()));
  response.body = std::move(json) + binary;
  return response;
}

}  // namespace slipway::api
