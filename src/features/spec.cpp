#include "features/spec.h"

#include <algorithm>
#include <set>

#include "features/expression_internal.h"
#include "features/spec_internal.h"

namespace slipway::features {
namespace {

constexpr std::size_t kMostProducts = 2000;  // of one polynomial

// Whether `text` fits a pattern in which * stands for any characters.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

// Why the chain cannot take a column of this type, or nothing.
std::string misfit(const std::vector<Transform>& chain, data::Type type) {
  bool raw = true;  // nothing but an impute went before
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const TransformKind& kind = kind_of(chain[i]);
    const std::string name(kind.name);
    const bool last = i + 1 == chain.size();
    if (kind.last && !last) {
      return name + " spreads a value over several outputs: nothing can follow it";
    }
    if (kind.takes == Takes::text) {
      if (!raw || i > 0) return name + " must come first: it reads the text itself";
      if (type != data::Type::text) return name + " needs a text";
      raw = false;
    } else if (kind.takes == Takes::timestamp) {
      if (!raw || i > 0) return name + " must come first: it reads the timestamp itself";
      if (type != data::Type::timestamp) {
        return name + " needs a timestamp; read the column as one at ingestion (types: timestamp)";
      }
      raw = false;
    } else if (kind.takes == Takes::category) {
      if (name == "hash" && (!raw || i > 0))
        return "hash must come first: it reads the category itself";
      if (name == "hash" && type == data::Type::float64) {
        return "hash needs categories; begin with bucketize and onehot, or round at ingestion";
      }
      raw = false;
    } else if (name == "impute" && raw && i == 0 && !last &&
               kind_of(chain[1]).takes == Takes::category) {
      const auto how = std::get<Impute>(chain[0]).how;
      const bool averages = how == Impute::How::mean || how == Impute::How::median;
      if (averages && (type == data::Type::text || type == data::Type::timestamp)) {
        return "impute: only most_frequent or a constant can fill " + std::string(to_string(type));
      }
    } else {
      if (raw && type == data::Type::text) {
        return name + " needs numbers; begin with onehot, ordinal or target_encode";
      }
      if (raw && type == data::Type::timestamp) return name + " needs numbers; begin with datetime";
      raw = false;
    }
    const auto* impute = std::get_if<Impute>(&chain[i]);
    if (impute != nullptr && impute->indicator && i > 0 &&
        kind_of(chain[0]).takes == Takes::timestamp) {
      return "an indicator after datetime would stand for several numbers; leave it out";
    }
  }
  return "";
}

Select read_select(SpecReader& entry) {
  Select out;
  out.place = entry.place();
  SpecReader options = entry.object("select");
  const std::string by =
      options.one_of("by", {"variance", "mutual_information", "importance"}, "variance");
  out.by = by == "importance"           ? Select::By::importance
           : by == "mutual_information" ? Select::By::mutual_information
                                        : Select::By::variance;
  const std::int64_t keep = options.integer("keep", 0);
  if (keep < 0 || (options.has("keep") && keep == 0)) {
    options.problem("keep", "needs the number of outputs that stay, 1 or more");
  }
  out.keep = static_cast<std::size_t>(std::max<std::int64_t>(0, keep));
  out.above = options.number("above", 0);
  options.close();
  return out;
}

std::string quoted(const std::string& column) {
  std::string out = "`";
  for (const char c : column) out += c == '`' ? std::string("``") : std::string(1, c);
  return out + "`";
}

// All products of up to `degree` of the columns, in the order of scikit-learn's PolynomialFeatures.
void add_products(const std::vector<std::string>& columns, std::size_t least, std::size_t degree,
                  bool interactions, const std::string& place, std::vector<Derive>& out) {
  std::vector<std::size_t> chosen;
  const auto add = [&] {
    Derive product;
    product.place = place;
    for (std::size_t i = 0; i < chosen.size();) {
      std::size_t same = i;
      while (same < chosen.size() && chosen[same] == chosen[i]) ++same;
      product.name += (i == 0 ? "" : "*") + columns[chosen[i]] +
                      (same - i > 1 ? "^" + std::to_string(same - i) : "");
      for (; i < same; ++i)
        product.expression += (i == 0 ? "" : " * ") + quoted(columns[chosen[i]]);
    }
    out.push_back(std::move(product));
  };
  const auto extend = [&](auto& self, std::size_t size, std::size_t from) -> void {
    if (chosen.size() == size) return add();
    for (std::size_t i = from; i < columns.size() && out.size() <= kMostProducts; ++i) {
      chosen.push_back(i);
      self(self, size, interactions ? i + 1 : i);
      chosen.pop_back();
    }
  };
  for (std::size_t size = least; size <= degree; ++size) extend(extend, size, 0);
}

// The columns an entry makes; its selection means them.
void read_derived(SpecReader& entry, PipelineSpec& spec, Selection& selection) {
  std::vector<Derive> made;
  if (entry.has("expression")) {
    made.push_back({entry.text("as"), entry.text("expression"), entry.place("expression")});
  } else if (entry.has("cross")) {
    const std::vector<std::string> columns = entry.texts("cross");
    if (columns.size() < 2) entry.problem("cross", "crosses two columns or more");
    Derive cross{"", "cross(", entry.place("cross")};
    for (const std::string& column : columns) {
      cross.name += (cross.name.empty() ? "" : "_x_") + column;
      cross.expression += (cross.expression.back() == '(' ? "" : ", ") + quoted(column);
    }
    cross.expression += ")";
    cross.name = entry.text("as", cross.name);
    made.push_back(std::move(cross));
  } else {
    SpecReader options = entry.object("polynomial");
    const std::vector<std::string> columns = options.texts("columns");
    const std::int64_t degree = options.integer("degree", 2);
    const bool interactions = options.boolean("interactions_only", false);
    const bool linear = options.boolean("linear", false);
    options.close();
    if (degree < 2 || degree > 6) options.problem("degree", "needs 2 to 6");
    if (columns.empty()) options.problem("columns", "needs the columns to multiply");
    if (degree >= 2 && degree <= 6) {
      add_products(columns, linear ? 1 : 2, static_cast<std::size_t>(degree), interactions,
                   entry.place("polynomial"), made);
    }
    if (made.size() > kMostProducts) {
      options.problem("", "gives more than " + std::to_string(kMostProducts) +
                              " products; multiply fewer columns");
      made.clear();
    }
  }
  for (Derive& derive : made) {
    selection.derived.push_back(spec.derived.size());
    spec.derived.push_back(std::move(derive));
  }
}

void read_chain(SpecReader& entry, Selection& selection) {
  Json chain = entry.json("apply");
  if (chain.is_null() && !selection.derived.empty()) chain = "passthrough";
  if (chain.is_string() || chain.is_object()) chain = Json::array({chain});
  if (!chain.is_array() || chain.empty()) {
    entry.problem("apply",
                  "needs the transforms, in order, for example [impute: median, standardize]");
    chain = Json::array();
  }
  for (std::size_t i = 0; i < chain.size(); ++i) {
    if (auto transform = read_transform(entry, chain[i], i + 1)) {
      selection.apply.push_back(std::move(*transform));
    }
  }
}

}  // namespace

PipelineSpec PipelineSpec::read(SpecReader& reader, std::string_view key) {
  PipelineSpec spec;
  spec.views = ViewSpec::read_list(reader, "views");
  spec.declared = reader.json(key);
  if (!spec.declared.is_array() || spec.declared.empty()) {
    reader.problem(key, "needs a list of {columns, apply} entries, one at least");
    return spec;
  }
  for (SpecReader& entry : reader.list(key)) {
    if (entry.has("select")) {
      spec.selects.push_back(read_select(entry));
      entry.close();
      continue;
    }
    if (!spec.selects.empty()) {
      entry.problem("", "select looks at all outputs: it stands at the end of the list");
    }
    Selection selection;
    selection.place = entry.place();
    if (entry.has("expression") || entry.has("cross") || entry.has("polynomial")) {
      read_derived(entry, spec, selection);
    } else {
      selection.columns = entry.texts("columns");
      for (const std::string& word : entry.texts("types")) {
        if (const auto type = data::parse_type(word)) {
          selection.types.push_back(*type);
        } else {
          entry.problem("types", type.error().message);
        }
      }
      if (selection.columns.empty() && selection.types.empty()) {
        entry.problem("",
                      "an entry names its columns (names or patterns), or their types; or it is an "
                      "expression, a cross, a polynomial or a select");
      }
      selection.except = entry.texts("except");
    }
    selection.suffix = entry.text("suffix", "");
    read_chain(entry, selection);
    entry.close();
    spec.selections.push_back(std::move(selection));
  }
  if (spec.selections.empty()) reader.problem(key, "select needs features to select from");
  return spec;
}

Result<PipelineSpec> PipelineSpec::from_json(const Json& list, const std::string& name) {
  const SpecDocument document = SpecDocument::from_json(Json{{"features", list}}, name);
  SpecReader reader(document);
  PipelineSpec spec = read(reader);
  if (const auto read = reader.finish(); !read) return read.error();
  return spec;
}

Result<data::Schema> PipelineSpec::with_views(const data::Schema& schema) const {
  data::Schema out = schema;
  for (const ViewSpec& view : views) {
    const auto place = "view '" + view.name + "'";
    for (const auto& [mine, theirs] : view.keys) {
      if (const auto found = schema.find(mine); !found) return found.error().at(place);
    }
    const auto at = schema.find(view.at);
    if (!at) return at.error().at(place);
    if (schema.fields[*at].type != data::Type::timestamp) {
      return invalid_argument(place + ": the time of decision '" + view.at + "' is " +
                              std::string(to_string(schema.fields[*at].type)));
    }
    for (const std::string& name : view.outputs()) {
      if (out.index(name))
        return invalid_argument(place + ": there is a column called '" + name + "' already");
      out.fields.push_back({name, data::Type::float64, true});
    }
  }
  return out;
}

Result<std::vector<Expression>> compile(const PipelineSpec& spec, const data::Schema& schema) {
  std::vector<Expression> out;
  std::string problems;
  std::set<std::string> names;
  for (const Derive& derive : spec.derived) {
    auto expression = Expression::parse(derive.expression, schema);
    std::string problem = expression ? "" : expression.error().message;
    if (schema.index(derive.name)) {
      problem = "there is a column called '" + derive.name + "' already; name this one by as:";
    } else if (!names.insert(derive.name).second) {
      problem = "two features are made under the name '" + derive.name + "'; name one by as:";
    }
    if (problem.empty()) {
      out.push_back(std::move(*expression));
    } else {
      problems += (problems.empty() ? "" : "\n") +
                  (derive.place.empty() ? problem : derive.place + ": " + problem);
    }
  }
  if (!problems.empty()) return invalid_argument(problems);
  return out;
}

Result<std::vector<std::string>> PipelineSpec::reads(const data::Schema& schema) const {
  const auto bindings = bind(schema);
  if (!bindings) return bindings.error();
  const auto wide = with_views(schema);
  const auto expressions = compile(*this, *wide);
  if (!expressions) return expressions.error();
  std::set<std::size_t> columns;
  for (const Binding& binding : *bindings) columns.insert(binding.column);
  for (const Expression& expression : *expressions)
    columns.insert(expression.reads().begin(), expression.reads().end());
  std::set<std::string> seen;
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (seen.insert(name).second) names.push_back(name);
  };
  for (const std::size_t column : columns) {
    if (column < schema.fields.size()) add(schema.fields[column].name);
  }
  for (const ViewSpec& view : views) {
    for (const auto& [mine, theirs] : view.keys) add(mine);
    add(view.at);
  }
  return names;
}

Result<std::vector<Binding>> PipelineSpec::bind(const data::Schema& own) const {
  const auto wide = with_views(own);
  if (!wide) return wide.error();
  const data::Schema& schema = *wide;
  const auto expressions = compile(*this, schema);
  if (!expressions) return expressions.error();
  std::vector<Binding> bindings;
  std::string problems;
  const auto problem = [&](const Selection& selection, const std::string& message) {
    problems += (problems.empty() ? "" : "\n") +
                (selection.place.empty() ? message : selection.place + ": " + message);
  };
  const auto excepted = [](const Selection& selection, const std::string& name) {
    return std::any_of(selection.except.begin(), selection.except.end(),
                       [&](const std::string& pattern) { return matches(pattern, name); });
  };
  std::vector<bool> named(schema.fields.size(), false);
  std::vector<std::vector<std::size_t>> chosen(selections.size());
  for (std::size_t s = 0; s < selections.size(); ++s) {
    for (const std::string& pattern : selections[s].columns) {
      bool found = false;
      for (std::size_t c = 0; c < schema.fields.size(); ++c) {
        const std::string& name = schema.fields[c].name;
        if (!matches(pattern, name)) continue;
        found = true;
        if (excepted(selections[s], name)) continue;
        named[c] = true;
        auto& mine = chosen[s];
        if (std::find(mine.begin(), mine.end(), c) == mine.end()) mine.push_back(c);
      }
      if (found) continue;
      const auto near = nearest(pattern, schema.names());
      problem(selections[s],
              "no column " +
                  std::string(pattern.find('*') == std::string::npos ? "is called" : "fits") +
                  " '" + pattern + "'" + (near ? "; did you mean '" + *near + "'?" : ""));
    }
  }
  for (std::size_t s = 0; s < selections.size(); ++s) {
    const Selection& selection = selections[s];
    for (std::size_t c = 0; c < schema.fields.size(); ++c) {
      const auto& types = selection.types;
      if (named[c] || std::find(types.begin(), types.end(), schema.fields[c].type) == types.end() ||
          excepted(selection, schema.fields[c].name)) {
        continue;
      }
      chosen[s].push_back(c);
    }
    for (const std::size_t d : selection.derived) chosen[s].push_back(schema.fields.size() + d);
    for (const std::size_t c : chosen[s]) {
      const bool is_derived = c >= schema.fields.size();
      const std::size_t d = is_derived ? c - schema.fields.size() : 0;
      const data::Field field = is_derived
                                    ? data::Field{derived[d].name, (*expressions)[d].type(), true}
                                    : schema.fields[c];
      if (const std::string why = misfit(selection.apply, field.type); !why.empty()) {
        problem(selection,
                "column '" + field.name + "' (" + std::string(to_string(field.type)) + "): " + why);
      }
      bindings.push_back({c, s});
    }
  }
  if (!problems.empty()) return invalid_argument(problems);
  if (bindings.empty()) return invalid_argument("the feature pipeline selects no column at all");
  return bindings;
}

}  // namespace slipway::features
