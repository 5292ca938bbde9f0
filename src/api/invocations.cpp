#include "api/invocations_internal.h"

#include <fmt/ranges.h>

#include "api/inference_inputs_internal.h"
#include "api/status_map.h"
#include "base/json.h"

namespace slipway::api {
namespace {

using server::Request;
using server::Respond;
using server::Response;

constexpr std::string_view kForms = "dataframe_split, dataframe_records, instances or inputs";

std::string_view datatype_for(const serving::Inference& inference, std::string_view name) {
  const auto column = inference.served->column(name);
  if (!column) return "FP64";  // bind() says that there is no such input
  return datatype_of(inference.served->columns().fields[*column].type);
}

Error at_value(std::string_view name, std::int64_t row, const Error& error) {
  return {error.code, fmt::format("row {}, column '{}': {}", row, name, error.message)};
}

// JSON in one of MLflow's forms, brought to columns.
class Frame {
 public:
  explicit Frame(serving::Inference& inference)
      : inference_(inference), columns_(*inference.served, *inference.target, inference.rows) {}

  Result<void> read(const Json& body) {
    if (!body.is_object())
      return invalid_argument(fmt::format("the body has to be an object with {}", kForms));
    int given = 0;
    for (const char* form : {"dataframe_split", "dataframe_records", "instances", "inputs"})
      given += body.contains(form) ? 1 : 0;
    if (given != 1) {
      return invalid_argument(
          fmt::format("the body has {} of {}, wanted exactly one", given, kForms));
    }
    Result<void> read;
    if (body.contains("dataframe_split")) {
      read = split(body["dataframe_split"]);
    } else if (body.contains("dataframe_records")) {
      read = records(body["dataframe_records"], "dataframe_records");
    } else if (body.contains("instances")) {
      read = instances(body["instances"]);
    } else {
      read = inputs(body["inputs"]);
    }
    if (!read) return read;
    return columns_.finish();
  }

  std::int64_t rows() const { return columns_.rows(); }

 private:
  // The values of a column, each given by the function of its row.
  template <class Value>
  Result<void> column(const std::string& name, std::int64_t rows, Value&& value) {
    auto place = columns_.bind(name, datatype_for(inference_, name), rows);
    if (!place) return place.error().at("column '" + name + "'");
    for (std::int64_t row = 0; row < rows; ++row) {
      if (auto put = columns_.into().append_json(*place, value(row)); !put)
        return at_value(name, row, put.error());
    }
    return {};
  }

  Result<void> split(const Json& frame) {
    if (!frame.is_object() || !frame.contains("columns") || !frame["columns"].is_array() ||
        !frame.contains("data") || !frame["data"].is_array()) {
      return invalid_argument(
          R"(dataframe_split has to be {"columns": [names], "data": [[values of a row]]})");
    }
    std::vector<std::string> names;
    for (const Json& name : frame["columns"]) {
      if (!name.is_string()) return invalid_argument("a name in columns is no string");
      names.push_back(name.get<std::string>());
    }
    return positional(frame["data"], names, "dataframe_split.data");
  }

  Result<void> positional(const Json& data, const std::vector<std::string>& names,
                          std::string_view what) {
    if (data.empty()) return invalid_argument(fmt::format("{} has no rows", what));
    for (std::size_t row = 0; row < data.size(); ++row) {
      if (!data[row].is_array() || data[row].size() != names.size()) {
        return invalid_argument(
            fmt::format("row {} of {} has to be a list of {} values", row, what, names.size()));
      }
    }
    for (std::size_t place = 0; place < names.size(); ++place) {
      auto done = column(names[place], static_cast<std::int64_t>(data.size()),
                         [&](std::int64_t row) -> const Json& {
                           return data[static_cast<std::size_t>(row)][place];
                         });
      if (!done) return done;
    }
    return {};
  }

  Result<void> records(const Json& rows, std::string_view what) {
    if (!rows.is_array() || rows.empty() || !rows.front().is_object())
      return invalid_argument(fmt::format("{} has to be a list of objects, one a row", what));
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if (!rows[row].is_object())
        return invalid_argument(fmt::format("row {} of {} is no object", row, what));
      for (const auto& [name, value] : rows[row].items()) {
        if (!rows.front().contains(name)) {
          return invalid_argument(
              fmt::format("row {} of {} has '{}', which row 0 has not", row, what, name));
        }
      }
    }
    static const Json kNull;  // a column that a row does not have
    for (const auto& [name, first] : rows.front().items()) {
      const std::string& key = name;
      auto done =
          column(key, static_cast<std::int64_t>(rows.size()), [&](std::int64_t row) -> const Json& {
            const Json& record = rows[static_cast<std::size_t>(row)];
            const auto found = record.find(key);
            return found == record.end() ? kNull : *found;
          });
      if (!done) return done;
    }
    return {};
  }

  // Rows without names are in the order of the model's inputs.
  std::vector<std::string> input_names() const {
    std::vector<std::string> names;
    for (const std::size_t column : inference_.served->required(*inference_.target))
      names.push_back(inference_.served->columns().fields[column].name);
    return names;
  }

  Result<void> instances(const Json& rows) {
    if (!rows.is_array() || rows.empty())
      return invalid_argument("instances has to be a list of rows");
    if (rows.front().is_object()) return records(rows, "instances");
    return positional(rows, input_names(), "instances");
  }

  Result<void> inputs(const Json& given) {
    if (given.is_array()) {
      if (!given.empty() && given.front().is_object()) return records(given, "inputs");
      return positional(given, input_names(), "inputs");
    }
    if (!given.is_object() || given.empty()) {
      return invalid_argument(
          "inputs has to be an object with a list for each column, or a list of rows");
    }
    for (const auto& [name, values] : given.items()) {
      const Json& list = values;
      if (!list.is_array() || list.empty())
        return invalid_argument(fmt::format("inputs '{}' has to be a list of values", name));
      auto done = column(name, static_cast<std::int64_t>(list.size()),
                         [&](std::int64_t row) -> const Json& {
                           const Json& value = list[static_cast<std::size_t>(row)];
                           return value.is_array() && value.size() == 1 ? value.front() : value;
                         });
      if (!done) return done;
    }
    return {};
  }

  serving::Inference& inference_;
  InputColumns columns_;
};

// ---- CSV (RFC 4180), with a line of names

Result<std::vector<std::vector<std::string>>> csv_lines(std::string_view text) {
  std::vector<std::vector<std::string>> lines;
  std::vector<std::string> line;
  std::string field;
  bool quoted = false;
  bool any = false;  // of this line
  const auto end_line = [&] {
    if (!any) return;
    line.push_back(std::move(field));
    field.clear();
    lines.push_back(std::move(line));
    line.clear();
    any = false;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c != '"') {
        field.push_back(c);
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        field.push_back(text[++i]);
      } else {
        quoted = false;
      }
    } else if (c == '"' && field.empty()) {
      quoted = any = true;
    } else if (c == ',') {
      line.push_back(std::move(field));
      field.clear();
      any = true;
    } else if (c == '\n') {
      end_line();
    } else if (c != '\r') {
      field.push_back(c);
      any = true;
    }
  }
  if (quoted) return invalid_argument("the CSV ends inside a quoted field");
  end_line();
  return lines;
}

Result<Json> csv_value(const std::string& text, data::Type type) {
  if (text.empty()) return Json(nullptr);
  switch (type) {
    case data::Type::text:
    case data::Type::timestamp:
      return Json(text);
    case data::Type::boolean:
      if (text == "true" || text == "True" || text == "TRUE" || text == "1") return Json(true);
      if (text == "false" || text == "False" || text == "FALSE" || text == "0") return Json(false);
      break;
    case data::Type::int64:
    case data::Type::float64: {
      std::int64_t whole = 0;
      const char* const end = text.data() + text.size();
      if (const auto [stop, error] = std::from_chars(text.data(), end, whole);
          error == std::errc() && stop == end) {
        return Json(whole);
      }
      double real = 0;
      if (const auto [stop, error] = std::from_chars(text.data(), end, real);
          error == std::errc() && stop == end) {
        return std::isnan(real) ? Json(nullptr) : Json(real);
      }
      break;
    }
  }
  return invalid_argument(fmt::format("the value is '{}', wanted {}", text, data::to_string(type)));
}

Result<std::int64_t> read_csv(std::string_view body, serving::Inference& inference) {
  const auto lines = csv_lines(body);
  if (!lines) return lines.error();
  if (lines->size() < 2)
    return invalid_argument("the CSV has to have a line of column names and at least one row");
  const auto& names = lines->front();
  const auto rows = static_cast<std::int64_t>(lines->size() - 1);
  for (std::size_t line = 1; line < lines->size(); ++line) {
    if ((*lines)[line].size() != names.size()) {
      return invalid_argument(fmt::format("line {} of the CSV has {} fields, its first line {}",
                                          line + 1, (*lines)[line].size(), names.size()));
    }
  }
  InputColumns columns(*inference.served, *inference.target, inference.rows);
  for (std::size_t place = 0; place < names.size(); ++place) {
    const std::string& name = names[place];
    auto column = columns.bind(name, datatype_for(inference, name), rows);
    if (!column) return column.error().at("column '" + name + "'");
    const data::Type type = inference.served->columns().fields[*column].type;
    for (std::int64_t row = 0; row < rows; ++row) {
      auto value = csv_value((*lines)[static_cast<std::size_t>(row) + 1][place], type);
      if (!value) return at_value(name, row, value.error());
      if (auto put = columns.into().append_json(*column, *value); !put)
        return at_value(name, row, put.error());
    }
  }
  if (auto finished = columns.finish(); !finished) return finished.error();
  return rows;
}

// ---- calls

class Invocation final : public Exchange {
 public:
  Invocation(std::shared_ptr<const Request> request, Respond respond)
      : request_(std::move(request)), respond_(std::move(respond)) {}
  Result<InferRequest> read(serving::Inference& inference) override {
    return read_invocation(request_->body, request_->header("content-type"), inference);
  }
  void write(const InferRequest& /*request*/, const serving::Inference& inference) override {
    const std::size_t width = inference.target->scorer->width();
    const std::span<const double> numbers = width > 1 ? std::span<const double>(inference.values)
                                                      : std::span<const double>(inference.scores);
    Json predictions = Json::array();
    for (std::size_t row = 0; row < inference.scores.size(); ++row) {
      if (width == 1) {
        predictions.push_back(number(numbers[row]));
        continue;
      }
      Json values = Json::array();
      for (const double value : numbers.subspan(row * width, width))
        values.push_back(number(value));
      predictions.push_back(std::move(values));
    }
    response_ = server::json_text(
        200,
        Json{{"predictions", std::move(predictions)}, {"prediction_ids", inference.ids}}.dump());
  }
  void done(const Result<void>& outcome) override {
    request_.reset();
    respond_(outcome ? std::move(response_) : invocation_error(outcome.error()));
  }

 private:
  static Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

  std::shared_ptr<const Request> request_;
  Respond respond_;
  Response response_;
};

// Which deployment /invocations is for.
Result<std::string> the_only_one(const InferenceCore& core, const Principal& asks) {
  const auto all = core.host.all();
  if (asks.visibility == nullptr && all.size() == 1) return all.front()->deployment().name;
  if (asks.visibility != nullptr) {
    return permission_denied(
        "this server asks who may use what: name the deployment, POST /endpoints/NAME/invocations");
  }
  std::vector<std::string> names;
  for (const auto& served : all) names.push_back(served->deployment().name);
  return invalid_argument(fmt::format(
      "/invocations is for a server with one deployment, this has {} ({}): POST "
      "/endpoints/NAME/invocations",
      names.size(), names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
}

}  // namespace

Result<InferRequest> read_invocation(std::string_view body, std::string_view content_type,
                                     serving::Inference& inference) {
  const std::string_view type = content_type.substr(0, content_type.find(';'));
  InferRequest request;
  if (type == "text/csv") {
    auto rows = read_csv(body, inference);
    if (!rows) return rows.error();
    request.rows = *rows;
    return request;
  }
  const auto json = parse_json(body, "the body");
  if (!json) return json.error();
  Frame frame(inference);
  if (auto read = frame.read(*json); !read) return read.error();
  request.rows = frame.rows();
  return request;
}

// As MLflow's scoring server words it: BAD_REQUEST for what the caller did wrong.
Response invocation_error(const Error& error) {
  const Status& status = status_of(error.code);
  const std::string_view code =
      error.code == Code::invalid_argument ? std::string_view("BAD_REQUEST") : status.mlflow;
  Response response = server::json_text(error.code == Code::resource_exhausted ? 503 : status.http,
                                        Json{{"error_code", code}, {"message", error.message}}.dump(
                                            -1, ' ', false, Json::error_handler_t::replace));
  if (response.status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

void add_invocation_routes(server::Router& router, const std::shared_ptr<InferenceCore>& core) {
  router.add_async("GET", "/ping", server::Access::open, &invocation_error,
                   [core](const Context&, const std::shared_ptr<Request>&, const Respond& respond) {
                     respond(server::json_text(core->host.ready() ? 200 : 503, "\n"));
                   });
  router.add_async(
      "POST", "/endpoints/{model}/invocations", server::Access::use, &invocation_error,
      [core](const Context& ctx, const std::shared_ptr<Request>& request, const Respond& respond) {
        core->infer(ctx, request, request->body.size(),
                    std::make_shared<Invocation>(request, respond));
      });
  router.add_async(
      "POST", "/invocations", server::Access::use, &invocation_error,
      [core](const Context& ctx, const std::shared_ptr<Request>& request, const Respond& respond) {
        auto name = the_only_one(*core, ctx.principal);
        if (!name) return respond(invocation_error(name.error()));
        request->params.emplace_back("model", std::move(*name));
        core->infer(ctx, request, request->body.size(),
                    std::make_shared<Invocation>(request, respond));
      });
}

}  // namespace slipway::api
