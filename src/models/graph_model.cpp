// A graph of models as one: nodes are computed in order, each at most once per batch and only when
// the output needs it.
#include "base/file.h"
#include "models/graph.h"
#include "models/servable_internal.h"

namespace slipway::models {
namespace {

struct Member {
  GraphNode node;
  ServablePtr model;                          // of a model node
  std::vector<std::size_t> of;                // indices of the members it is made of
  std::map<std::string, std::size_t> filled;  // a model's columns that members fill
  std::size_t width = 1;
  bool classifier = false;
};

class GraphModel final : public Servable {
 public:
  GraphModel(std::vector<Member> members, std::size_t output, data::Schema inputs, Json description)
      : members_(std::move(members)),
        output_(output),
        inputs_(std::move(inputs)),
        description_(std::move(description)) {}

  const data::Schema& inputs() const override { return inputs_; }
  bool is_classifier() const override { return members_[output_].classifier; }
  std::size_t width() const override { return members_[output_].width; }
  bool blocks() const override {
    return std::ranges::any_of(members_, [](const Member& member) {
      return member.model != nullptr && member.model->blocks();
    });
  }
  Json describe() const override { return description_; }

  Result<void> predict(const data::Batch& batch, std::span<double> out,
                       int threads) const override {
    const auto rows = static_cast<std::size_t>(batch.rows);
    if (out.size() != rows * width())
      return invalid_argument(
          fmt::format("room for {} numbers, wanted {}", out.size(), rows * width()));
    Values values(members_.size());
    if (auto done = compute(output_, batch, threads, values); !done) return done;
    std::ranges::copy(*values[output_], out.begin());
    return {};
  }

 private:
  using Values = std::vector<std::optional<std::vector<double>>>;

  Result<void> compute(std::size_t index, const data::Batch& batch, int threads,
                       Values& values) const {
    if (values[index]) return {};
    const Member& member = members_[index];
    const auto rows = static_cast<std::size_t>(batch.rows);
    std::vector<double> out(rows * member.width, 0.0);
    if (member.node.kind == GraphNode::Kind::choose) {
      if (auto done = choose(member, batch, threads, values, out); !done) return done;
      values[index] = std::move(out);
      return {};
    }
    for (const std::size_t of : member.of) {
      if (auto done = compute(of, batch, threads, values); !done) return done;
    }
    if (member.model != nullptr) {
      auto done = member.filled.empty() ? member.model->predict(batch, out, threads)
                                        : stacked(member, batch, threads, values, out);
      if (!done) return done.error().at("node '" + member.node.name + "'");
    } else {
      combine(member, values, out);
    }
    values[index] = std::move(out);
    return {};
  }

  // The columns of the batch, and beside them those that other nodes fill.
  static Result<void> stacked(const Member& member, const data::Batch& batch, int threads,
                              const Values& values, std::span<double> out) {
    data::Schema schema;
    data::Batch wider;
    wider.rows = batch.rows;
    for (const data::Field& field : member.model->inputs().fields) {
      if (const auto filled = member.filled.find(field.name); filled != member.filled.end()) {
        schema.fields.push_back({field.name, data::Type::float64, true});
        wider.columns.push_back({.type = data::Type::float64,
                                 .rows = batch.rows,
                                 .values = values[filled->second]->data()});
        continue;
      }
      const auto at = batch.schema->find(field.name);
      if (!at) return at.error();
      schema.fields.push_back(batch.schema->fields[*at]);
      wider.columns.push_back(batch.columns[*at]);
    }
    wider.schema = &schema;
    return member.model->predict(wider, out, threads);
  }

  void combine(const Member& member, const Values& values, std::span<double> out) const {
    double total = 0;
    for (const double weight : member.node.weights) total += weight;
    for (std::size_t i = 0; i < member.of.size(); ++i) {
      const std::vector<double>& from = *values[member.of[i]];
      const double share = member.node.weights[i] / total;
      if (member.node.kind != GraphNode::Kind::vote) {
        for (std::size_t k = 0; k < out.size(); ++k) out[k] += share * from[k];
      } else if (member.width == 1) {
        for (std::size_t k = 0; k < out.size(); ++k)
          out[k] += from[k] >= member.node.threshold ? share : 0;
      } else {
        for (std::size_t row = 0; row < out.size() / member.width; ++row) {
          const auto begin = from.begin() + static_cast<std::ptrdiff_t>(row * member.width);
          const auto most =
              std::max_element(begin, begin + static_cast<std::ptrdiff_t>(member.width));
          out[row * member.width + static_cast<std::size_t>(most - begin)] += share;
        }
      }
    }
  }

  static bool holds(const GraphCondition& when, const data::ColumnView& column, std::int64_t row) {
    const bool missing =
        column.is_null(row) || (column.type == data::Type::float64 && std::isnan(column.real(row)));
    if (when.is == GraphCondition::Is::missing) return missing;
    if (missing) return false;
    if (column.type == data::Type::text)
      return when.is == GraphCondition::Is::equal && column.text(row) == when.text;
    const double value = column.number(row);
    if (when.is == GraphCondition::Is::below) return value < when.number;
    if (when.is == GraphCondition::Is::above) return value > when.number;
    return when.text.empty() && value == when.number;
  }

  Result<void> choose(const Member& member, const data::Batch& batch, int threads, Values& values,
                      std::span<double> out) const {
    const auto rows = static_cast<std::size_t>(batch.rows);
    std::vector<std::size_t> chosen(rows, member.of.size() - 1);
    std::vector<bool> settled(rows, false);
    for (std::size_t i = 0; i + 1 < member.of.size(); ++i) {
      const auto at = batch.schema->find(member.node.when[i].column);
      if (!at) return at.error();
      for (std::size_t row = 0; row < rows; ++row) {
        if (settled[row] ||
            !holds(member.node.when[i], batch.columns[*at], static_cast<std::int64_t>(row)))
          continue;
        chosen[row] = i;
        settled[row] = true;
      }
    }
    for (std::size_t row = 0; row < rows; ++row) {
      const std::size_t of = member.of[chosen[row]];
      if (auto done = compute(of, batch, threads, values); !done) return done;
      std::copy_n(values[of]->begin() + static_cast<std::ptrdiff_t>(row * member.width),
                  member.width, out.begin() + static_cast<std::ptrdiff_t>(row * member.width));
    }
    return {};
  }

  std::vector<Member> members_;
  std::size_t output_;
  data::Schema inputs_;
  Json description_;
};

Result<void> need_column(data::Schema& schema, const data::Field& field, const std::string& node) {
  const auto known = schema.index(field.name);
  if (!known) {
    schema.fields.push_back(field);
    return {};
  }
  if (schema.fields[*known].type == field.type) return {};
  return data_loss(fmt::format("node '{}' takes column '{}' as {}, another as {}", node, field.name,
                               to_string(field.type), to_string(schema.fields[*known].type)));
}

// Width and meaning of a node that combines others.
Result<void> settle(Member& member, const std::vector<Member>& members) {
  const Member& first = members[member.of.front()];
  member.width = first.width;
  member.classifier = first.classifier;
  for (const std::size_t of : member.of) {
    if (members[of].width == member.width && members[of].classifier == member.classifier) continue;
    return data_loss(fmt::format(
        "node '{}' combines nodes of different kinds: '{}' gives {} "
        "numbers a row and '{}' gives {}",
        member.node.name, first.node.name, first.width, members[of].node.name, members[of].width));
  }
  if (member.node.kind == GraphNode::Kind::vote && !member.classifier)
    return data_loss("node '" + member.node.name + "' votes, and only classifiers can");
  return {};
}

}  // namespace

Result<ServablePtr> load_graph(const std::filesystem::path& folder, const RuntimeOptions& options) {
  const auto text = read_file(folder / "graph.json");
  if (!text) return text.error();
  const auto json = parse_json(*text, "graph.json");
  if (!json) return data_loss(json.error().message);
  const auto spec = GraphSpec::from_json(*json);
  if (!spec) return data_loss(spec.error().message);
  std::vector<Member> members;
  std::map<std::string, std::size_t> places;
  data::Schema inputs;
  for (const GraphNode& node : spec->nodes) {
    Member member{.node = node};
    for (const std::string& of : node.of) member.of.push_back(places.at(of));
    if (node.kind == GraphNode::Kind::model) {
      auto model = load_servable(folder / "members" / node.name, options);
      if (!model) return model.error().at("node '" + node.name + "'");
      member.model = std::move(*model);
      member.width = member.model->width();
      member.classifier = member.model->is_classifier();
      for (const auto& [column, of] : node.inputs) {
        if (!member.model->inputs().index(column)) {
          return data_loss(fmt::format("node '{}' fills column '{}', which its model does not take",
                                       node.name, column));
        }
        if (members[places.at(of)].width != 1)
          return data_loss(
              fmt::format("node '{}' cannot fill a column: it gives several numbers", of));
        member.filled[column] = places.at(of);
      }
      for (const data::Field& field : member.model->inputs().fields) {
        if (member.filled.contains(field.name)) continue;
        if (auto needed = need_column(inputs, field, node.name); !needed) return needed.error();
      }
    } else if (auto settled = settle(member, members); !settled) {
      return settled.error();
    }
    places[node.name] = members.size();
    members.push_back(std::move(member));
  }
  for (const Member& member : members) {
    for (const GraphCondition& when : member.node.when) {
      if (when.is == GraphCondition::Is::always || inputs.index(when.column)) continue;
      return data_loss(
          fmt::format("node '{}' looks at column '{}', which no model of the graph takes",
                      member.node.name, when.column));
    }
  }
  const std::size_t output = places.at(spec->output);
  return std::make_unique<GraphModel>(std::move(members), output, std::move(inputs),
                                      Json{{"kind", "graph"}, {"graph", *json}});
}

}  // namespace slipway::models
