#include "features/onnx.h"

#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "features/pipeline_internal.h"
#include "features/stage_internal.h"

namespace slipway::features {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are little-endian");

// Protocol buffers' wire format: the few field kinds that ONNX's messages are made of.
class Message {
 public:
  Message& integer(int field, std::int64_t value) {
    varint(static_cast<std::uint64_t>(field) << 3);
    varint(static_cast<std::uint64_t>(value));
    return *this;
  }
  Message& text(int field, std::string_view bytes) {
    varint(static_cast<std::uint64_t>(field) << 3 | 2);
    varint(bytes.size());
    bytes_ += bytes;
    return *this;
  }
  Message& message(int field, const Message& inner) { return text(field, inner.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7F) | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// Field numbers and constants of onnx.proto.
namespace field {
enum Model { ir_version = 1, producer_name = 2, graph = 7, opset_import = 8 };
enum Opset { opset_domain = 1, opset_version = 2 };
enum Graph { node = 1, graph_name = 2, initializer = 5, graph_input = 11, graph_output = 12 };
enum Node { node_input = 1, node_output = 2, op_type = 4, attribute = 5, node_domain = 7 };
enum Attribute {
  attribute_name = 1,
  attribute_i = 3,
  floats = 7,
  ints = 8,
  strings = 9,
  type = 20
};
enum Tensor { dims = 1, data_type = 2, tensor_name = 8, raw_data = 9 };
enum Value { value_name = 1, value_type = 2 };
}  // namespace field

enum class Element { floating = 1, int64 = 7, text = 8, real = 11 };
enum class AttributeType { integer = 2, floats = 6, integers = 7, texts = 8 };

Message value_info(const std::string& name, Element element, std::int64_t columns) {
  Message rows;
  rows.text(2, "rows");  // a dimension's name
  Message width;
  width.integer(1, columns);
  Message shape;
  shape.message(1, rows).message(1, width);
  Message tensor;
  tensor.integer(1, static_cast<int>(element)).message(2, shape);
  Message type;
  type.message(1, tensor);
  Message value;
  value.text(field::value_name, name).message(field::value_type, type);
  return value;
}

// The nodes of a graph as they are made; every step gives the name of its result.
class Graph {
 public:
  std::string constant(const std::vector<double>& values, std::vector<std::int64_t> shape = {}) {
    const std::string name = "c" + std::to_string(constants_++);
    Message tensor;
    for (const std::int64_t size : shape) tensor.integer(field::dims, size);
    tensor.integer(field::data_type, static_cast<int>(Element::real))
        .text(field::tensor_name, name)
        .text(field::raw_data,
              {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)});
    graph_.message(field::initializer, tensor);
    return name;
  }
  std::string constant(double value) { return constant(std::vector<double>{value}); }
  std::string integers(const std::vector<std::int64_t>& values) {
    const std::string name = "c" + std::to_string(constants_++);
    Message tensor;
    tensor.integer(field::dims, static_cast<std::int64_t>(values.size()))
        .integer(field::data_type, static_cast<int>(Element::int64))
        .text(field::tensor_name, name)
        .text(field::raw_data,
              {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int64_t)});
    graph_.message(field::initializer, tensor);
    return name;
  }
  std::string op(const std::string& type, const std::vector<std::string>& inputs,
                 const std::vector<Message>& attributes = {}, const std::string& domain = "",
                 std::string output = "") {
    if (output.empty()) output = "t" + std::to_string(results_++);
    Message node;
    for (const std::string& input : inputs) node.text(field::node_input, input);
    node.text(field::node_output, output).text(field::op_type, type);
    for (const Message& attribute : attributes) node.message(field::attribute, attribute);
    if (!domain.empty()) node.text(field::node_domain, domain);
    graph_.message(field::node, node);
    return output;
  }
  static Message attribute(const std::string& name, std::int64_t value) {
    Message out;
    out.text(field::attribute_name, name)
        .integer(field::attribute_i, value)
        .integer(field::type, static_cast<int>(AttributeType::integer));
    return out;
  }
  static Message attribute(const std::string& name, const std::vector<std::string>& values) {
    Message out;
    out.text(field::attribute_name, name);
    for (const std::string& value : values) out.text(field::strings, value);
    out.integer(field::type, static_cast<int>(AttributeType::texts));
    return out;
  }
  static Message attribute(const std::string& name, const std::vector<std::int64_t>& values) {
    Message out;
    out.text(field::attribute_name, name);
    for (const std::int64_t value : values) out.integer(field::ints, value);
    out.integer(field::type, static_cast<int>(AttributeType::integers));
    return out;
  }
  std::string cast(const std::string& value, Element to, std::string output = "") {
    return op("Cast", {value}, {attribute("to", static_cast<std::int64_t>(to))}, "",
              std::move(output));
  }
  std::string missing() {
    if (missing_.empty()) missing_ = constant(kMissing);
    return missing_;
  }
  std::string is_missing(const std::string& value) { return op("IsNaN", {value}); }
  void input(const Message& value) { graph_.message(field::graph_input, value); }
  void output(const Message& value) { graph_.message(field::graph_output, value); }

  std::string model() {
    graph_.text(field::graph_name, "features");
    const auto opset = [](const std::string& domain, std::int64_t version) {
      Message out;
      if (!domain.empty()) out.text(field::opset_domain, domain);
      out.integer(field::opset_version, version);
      return out;
    };
    Message model;
    model.integer(field::ir_version, 8)
        .text(field::producer_name, "slipway")
        .message(field::graph, graph_)
        .message(field::opset_import, opset("", 17))
        .message(field::opset_import, opset("ai.onnx.ml", 2));
    return model.bytes();
  }

 private:
  Message graph_;
  int constants_ = 0;
  int results_ = 0;
  std::string missing_;
};

// One column on its way down its chain.
struct Flow {
  std::string raw;  // the input
  data::Type type;
  std::vector<std::string> numbers;  // [rows, 1] each, or one [rows, names] when wide
  std::vector<std::string> flags;
};

// A stage's numbers by column; null is missing.
std::vector<double> numbers_at(const Json& stage, const char* key) {
  std::vector<double> out;
  for (const Json& value : stage.at(key)) out.push_back(number_or_nan(value));
  return out;
}

void add_clip(Graph& graph, std::string& value, double low, double high) {
  if (!std::isnan(low)) {
    const std::string below = graph.op("Less", {value, graph.constant(low)});
    value = graph.op("Where", {below, graph.constant(low), value});
  }
  if (!std::isnan(high)) {
    const std::string above = graph.op("Greater", {value, graph.constant(high)});
    value = graph.op("Where", {above, graph.constant(high), value});
  }
}

std::string yeo_johnson(Graph& graph, const std::string& value, double lambda) {
  // Each half of it from the part of the values it is for; the rest is set to zero before.
  const std::string zero = graph.constant(0);
  const std::string negative = graph.op("Less", {value, zero});
  const auto half = [&](const std::string& of, double power) {
    const std::string base = graph.op("Add", {of, graph.constant(1)});
    if (power == 0) return graph.op("Log", {base});
    const std::string raised = graph.op("Pow", {base, graph.constant(power)});
    return graph.op("Div", {graph.op("Sub", {raised, graph.constant(1)}), graph.constant(power)});
  };
  const std::string above = half(graph.op("Where", {negative, zero, value}), lambda);
  const std::string below =
      half(graph.op("Where", {negative, graph.op("Neg", {value}), zero}), 2 - lambda);
  return graph.op("Where", {negative, graph.op("Neg", {below}), above});
}

// The number of each value's category among the keys; one behind them for what is not, and one
// more for what is missing.
std::string category_numbers(Graph& graph, const Json& stage, const Flow& flow) {
  const Json& keys = stage.at("keys");
  const auto count = static_cast<std::int64_t>(keys.size());
  const bool raw = stage.at("raw").get<bool>();
  if (raw && flow.type == data::Type::text) {
    std::vector<std::string> texts;
    std::vector<std::int64_t> numbers;
    bool marked = false;
    for (const Json& key : keys) {
      texts.push_back(key.get<std::string>());
      numbers.push_back(static_cast<std::int64_t>(numbers.size()));
      marked = marked || texts.back() == kOnnxMissing;
    }
    if (!marked) {
      texts.emplace_back(kOnnxMissing);
      numbers.push_back(count + 1);
    }
    return graph.op(
        "LabelEncoder", {flow.raw},
        {Graph::attribute("keys_strings", texts), Graph::attribute("values_int64s", numbers),
         Graph::attribute("default_int64", count)},
        "ai.onnx.ml");
  }
  // Numbers: compared with all keys at once; the place of the match, if any.
  const std::string value = raw ? flow.raw : flow.numbers.at(0);
  std::vector<double> all;
  std::vector<double> places;
  for (const Json& key : keys) {
    all.push_back(key.is_boolean() ? (key.get<bool>() ? 1 : 0) : key.get<double>());
    places.push_back(static_cast<double>(places.size()) - static_cast<double>(count));
  }
  std::string number;
  if (all.empty()) {
    number = graph.op("Mul", {value, graph.constant(0)});
    number = graph.op("Add", {number, graph.constant(static_cast<double>(count))});
  } else {
    const std::string equal =
        graph.cast(graph.op("Equal", {value, graph.constant(all, {1, count})}), Element::real);
    const std::string placed = graph.op("Mul", {equal, graph.constant(places, {1, count})});
    number = graph.op("ReduceSum", {placed, graph.integers({1})});
    number = graph.op("Add", {number, graph.constant(static_cast<double>(count))});
  }
  number = graph.op(
      "Where", {graph.is_missing(value), graph.constant(static_cast<double>(count + 1)), number});
  return graph.cast(number, Element::int64);
}

void add_category(Graph& graph, const Json& stage, Flow& flow) {
  std::vector<double> table = numbers_at(stage, "values");
  table.push_back(number_or_nan(stage.at("unknown")));
  table.push_back(number_or_nan(stage.at("missing")));
  const std::string number = category_numbers(graph, stage, flow);
  const auto size = static_cast<std::int64_t>(table.size());
  if (stage.at("indicator").get<bool>()) {
    const std::string last = graph.integers({size - 1});
    flow.flags.push_back(graph.cast(graph.op("Equal", {number, last}), Element::real));
  }
  std::string value = graph.op("Gather", {graph.constant(table, {size}), number});
  const auto names = static_cast<std::int64_t>(stage.at("outputs").size());
  if (stage.at("op") == "onehot") {
    std::vector<double> places;
    for (std::int64_t i = 0; i < names; ++i) places.push_back(static_cast<double>(i));
    value =
        graph.cast(graph.op("Equal", {value, graph.constant(places, {1, names})}), Element::real);
  }
  flow.numbers = {value};
}

// Adds one stage, or says that ONNX has nothing for it.
bool add_stage(Graph& graph, const Json& stage, Flow& flow) {
  const auto op = stage.at("op").get<std::string>();
  if (op == "number") {
    const std::string infinite = graph.op("IsInf", {flow.raw});
    flow.numbers = {graph.op("Where", {infinite, graph.missing(), flow.raw})};
    return true;
  }
  if (op == "onehot" || op == "ordinal" || op == "target_encode" || op == "frequency") {
    for (const Json& key : stage.at("keys")) {
      if (key.is_object()) return false;  // bytes that are no text
    }
    // Integers beyond what a double holds would be mixed up.
    if (flow.type == data::Type::timestamp && stage.at("raw").get<bool>()) return false;
    add_category(graph, stage, flow);
    return true;
  }
  const auto each = [&](auto change) {
    for (std::size_t k = 0; k < flow.numbers.size(); ++k) change(flow.numbers[k], k);
    return true;
  };
  if (op == "impute") {
    if (stage.at("indicator").get<bool>())
      flow.flags.push_back(graph.cast(graph.is_missing(flow.numbers.at(0)), Element::real));
    const auto fill = numbers_at(stage, "fill");
    return each([&](std::string& value, std::size_t k) {
      value = graph.op("Where", {graph.is_missing(value), graph.constant(fill.at(k)), value});
    });
  }
  if (op == "standardize" || op == "robust") {
    const auto center = numbers_at(stage, op == "robust" ? "center" : "mean");
    const auto scale = numbers_at(stage, "scale");
    return each([&](std::string& value, std::size_t k) {
      value = graph.op("Div", {graph.op("Sub", {value, graph.constant(center.at(k))}),
                               graph.constant(scale.at(k))});
    });
  }
  if (op == "linear" || op == "clip") {
    const auto low = numbers_at(stage, "low");
    const auto high = numbers_at(stage, "high");
    const auto scale = op == "linear" ? numbers_at(stage, "scale") : std::vector<double>();
    const auto shift = op == "linear" ? numbers_at(stage, "shift") : std::vector<double>();
    return each([&](std::string& value, std::size_t k) {
      if (!scale.empty()) {
        value = graph.op("Add", {graph.op("Mul", {value, graph.constant(scale.at(k))}),
                                 graph.constant(shift.at(k))});
      }
      add_clip(graph, value, low.at(k), high.at(k));
    });
  }
  if (op == "log1p" || op == "log") {
    const double offset = op == "log" ? stage.at("offset").get<double>() : 1;
    const int base = op == "log" ? stage.at("base").get<int>() : 0;
    return each([&](std::string& value, std::size_t) {
      const std::string moved = graph.op("Add", {value, graph.constant(offset)});
      const std::string fits = graph.op("Greater", {moved, graph.constant(0)});
      const std::string safe = graph.op("Where", {fits, moved, graph.constant(1)});
      std::string log = graph.op("Log", {safe});
      if (base != 0) log = graph.op("Div", {log, graph.constant(std::log(base))});
      value = graph.op("Where", {fits, log, graph.missing()});
    });
  }
  if (op == "power") {
    const auto lambda = numbers_at(stage, "lambda");
    const auto mean = numbers_at(stage, "mean");
    const auto scale = numbers_at(stage, "scale");
    return each([&](std::string& value, std::size_t k) {
      const std::string bent = yeo_johnson(graph, value, lambda.at(k));
      value = graph.op("Div", {graph.op("Sub", {bent, graph.constant(mean.at(k))}),
                               graph.constant(scale.at(k))});
      value = graph.op("Where", {graph.op("IsInf", {value}), graph.missing(), value});
    });
  }
  if (op == "bucketize") {
    return each([&](std::string& value, std::size_t k) {
      const auto edges = stage.at("edges").at(k).get<std::vector<double>>();
      if (edges.empty()) {
        value = graph.op("Mul", {value, graph.constant(0)});
        return;
      }
      const auto count = static_cast<std::int64_t>(edges.size());
      const std::string reached = graph.cast(
          graph.op("GreaterOrEqual", {value, graph.constant(edges, {1, count})}), Element::real);
      const std::string bin = graph.op("ReduceSum", {reached, graph.integers({1})});
      value = graph.op("Where", {graph.is_missing(value), graph.missing(), bin});
    });
  }
  return false;
}

}  // namespace

Result<std::string> to_onnx(const Pipeline& pipeline) {
  const Json json = pipeline.to_json();
  Graph graph;
  for (const data::Field& field : pipeline.inputs().fields) {
    graph.input(
        value_info(field.name, field.type == data::Type::text ? Element::text : Element::real, 1));
  }
  std::string problems;
  std::vector<std::string> outputs;
  for (const Json& chain : json.at("chains")) {
    const auto column = chain.at("column").get<std::string>();
    const auto input = pipeline.inputs().index(column);
    const auto problem = [&](const std::string& why) {
      problems += (problems.empty() ? "" : "\n") + ("'" + column + "': ") + why;
    };
    if (!input) {
      problem("columns made by an expression or looked up in a view have no form in ONNX");
      continue;
    }
    Flow flow{column, pipeline.inputs().fields[*input].type, {}, {}};
    bool complete = true;
    for (const Json& stage : chain.at("stages")) {
      complete = complete && add_stage(graph, stage, flow);
      if (complete) continue;
      problem(stage.at("op").get<std::string>() + " has no form in ONNX");
      break;
    }
    if (!complete) continue;
    outputs.insert(outputs.end(), flow.numbers.begin(), flow.numbers.end());
    outputs.insert(outputs.end(), flow.flags.begin(), flow.flags.end());
  }
  if (!problems.empty()) return unimplemented(problems);
  std::string all = graph.op("Concat", outputs, {Graph::attribute("axis", std::int64_t{1})});
  if (const auto& selected = pipeline.impl().selected; !selected.empty()) {
    const std::vector<std::int64_t> kept(selected.begin(), selected.end());
    all = graph.op("Gather", {all, graph.integers(kept)},
                   {Graph::attribute("axis", std::int64_t{1})});
  }
  // What a float cannot hold is as large as it can be, as in the matrix here.
  constexpr double kMost = std::numeric_limits<float>::max();
  add_clip(graph, all, -kMost, kMost);
  graph.cast(all, Element::floating, "features");
  graph.output(value_info("features", Element::floating,
                          static_cast<std::int64_t>(pipeline.outputs().size())));
  return graph.model();
}

}  // namespace slipway::features
