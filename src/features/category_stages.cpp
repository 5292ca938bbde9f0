// Stages that read categories: onehot, ordinal, frequency, target_encode. Fitted, all are one
// thing: a number per known category, one for what was never seen, one for what is missing.
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "features/category_internal.h"
#include "features/stage_internal.h"

namespace slipway::features {
namespace {

constexpr double kNowhere = -1;  // the place of no output: all zeros

struct Encoding {
  std::string op;
  bool raw = true;  // reads the column itself, else the one number before it
  CategoryIndex index;
  std::vector<double> values;  // [categories]
  double unknown = kMissing;
  double missing = kMissing;
  bool indicator = false;
  std::vector<std::string> outputs;  // of onehot: labels
};

class CategoryStage final : public Stage {
 public:
  CategoryStage(Encoding encoding, std::size_t flag) : e_(std::move(encoding)), flag_(flag) {}

  void apply(Block& block) const override {
    std::array<std::int32_t, 256> buffer;
    const auto values = block.value(0);
    for (std::size_t begin = 0; begin < block.rows; begin += buffer.size()) {
      const std::size_t count = std::min(buffer.size(), block.rows - begin);
      const std::span codes(buffer.data(), count);
      if (e_.raw) {
        e_.index.find(*block.column, block.begin + static_cast<std::int64_t>(begin), codes);
      } else {
        e_.index.find(values.subspan(begin, count), codes);
      }
      for (std::size_t i = 0; i < count; ++i) {
        const std::int32_t code = codes[i];
        values[begin + i] = code >= 0              ? e_.values[static_cast<std::size_t>(code)]
                            : code == kMissingCode ? e_.missing
                                                   : e_.unknown;
      }
      if (!e_.indicator) continue;
      const auto flags = block.flag(flag_);
      for (std::size_t i = 0; i < count; ++i) flags[begin + i] = codes[i] == kMissingCode ? 1 : 0;
    }
  }

  void advance(Shape& shape) const override {
    const std::string name = shape.names[0];
    if (e_.indicator) shape.flags.push_back(name + ".missing");
    shape.raw = false;
    if (e_.op == "onehot") {
      shape.closed = true;
      shape.onehot = e_.outputs.size();
      shape.names.clear();
      for (const std::string& label : e_.outputs) shape.names.push_back(name + "=" + label);
    } else {
      shape.names[0] = name + (e_.op == "target_encode" ? ".target" : "." + e_.op);
    }
  }

  Json to_json() const override {
    Json keys = Json::array();
    Json values = Json::array();
    for (std::size_t i = 0; i < e_.index.size(); ++i) {
      keys.push_back(e_.index.key(i));
      values.push_back(e_.values[i]);
    }
    return {{"op", e_.op},
            {"raw", e_.raw},
            {"keys", keys},
            {"values", values},
            {"unknown", number_or_null(e_.unknown)},
            {"missing", number_or_null(e_.missing)},
            {"indicator", e_.indicator},
            {"outputs", e_.outputs}};
  }

 private:
  Encoding e_;
  std::size_t flag_;
};

// The training column as category numbers, with missing ones filled where an impute says so.
struct Coded {
  bool raw = true;
  CategoryIndex index;
  std::vector<std::int32_t> codes;  // [rows]
  std::vector<std::size_t> counts;  // [categories]
  std::size_t missing = 0;          // rows, after filling
  std::vector<bool> was_missing;    // [rows], before filling; only for an indicator
  std::int32_t fill = -1;           // category of missing ones, or -1
};

Result<Coded> code(const Impute* fill, std::string_view op, FitBlock& fit) {
  Coded out;
  out.raw = fit.shape.raw;
  if (!out.raw && fit.shape.names.size() != 1) {
    return invalid_argument(std::string(op) + " takes one number, but there are " +
                            std::to_string(fit.shape.names.size()) +
                            " before it; write one entry for each part");
  }
  out.index =
      CategoryIndex(out.raw ? CategoryIndex::kind_of(fit.shape.type) : CategoryIndex::Kind::real);
  out.codes.resize(fit.block.rows);
  if (out.raw) {
    out.index.insert(*fit.block.column, out.codes);
  } else {
    out.index.insert(fit.block.value(0), out.codes);
  }
  const bool constant = fill != nullptr && fill->how == Impute::How::constant;
  if (out.index.size() == 0 && !constant) {
    return failed_precondition("no training row has a value, so there are no categories to " +
                               std::string(op) + "; leave the column out, or impute a constant");
  }
  if (constant) {
    const auto number = out.index.insert(fill->value);
    if (!number) return number.error().at("impute");
    out.fill = *number;
  }
  out.counts.assign(out.index.size(), 0);
  for (const std::int32_t number : out.codes) {
    number < 0 ? ++out.missing : ++out.counts[static_cast<std::size_t>(number)];
  }
  if (fill == nullptr) return out;
  if (!constant) {
    for (const std::int32_t number : out.index.sorted()) {
      if (out.fill < 0 || out.counts[static_cast<std::size_t>(number)] >
                              out.counts[static_cast<std::size_t>(out.fill)]) {
        out.fill = number;
      }
    }
  }
  if (fill->indicator) {
    out.was_missing.resize(out.codes.size());
    for (std::size_t row = 0; row < out.codes.size(); ++row)
      out.was_missing[row] = out.codes[row] < 0;
  }
  for (std::int32_t& number : out.codes) number = number < 0 ? out.fill : number;
  out.counts[static_cast<std::size_t>(out.fill)] += out.missing;
  out.missing = 0;
  return out;
}

// What a fit decided about the categories of `Coded`.
struct Decision {
  std::string op;
  std::vector<std::int32_t> keep;  // categories the stage knows by name, in this order
  std::vector<double> value_of;    // [categories of Coded]
  double unknown = kMissing;
  double missing = kMissing;
  std::vector<std::string> outputs;  // of onehot
  bool trains_on_values = true;      // else the training rows have their numbers already
};

Result<StagePtr> finish(const Coded& coded, Decision decision, const Impute* fill, FitBlock& fit) {
  const auto value_of = [&](std::int32_t number) {
    return number < 0 ? decision.missing : decision.value_of[static_cast<std::size_t>(number)];
  };
  Encoding encoding;
  encoding.op = std::move(decision.op);
  encoding.raw = coded.raw;
  encoding.index = CategoryIndex(coded.index.kind());
  for (const std::int32_t number : decision.keep) {
    const auto inserted = encoding.index.insert(coded.index.key(static_cast<std::size_t>(number)));
    if (!inserted) return inserted.error();
    encoding.values.push_back(value_of(number));
  }
  encoding.unknown = decision.unknown;
  encoding.missing = value_of(coded.fill);
  encoding.indicator = fill != nullptr && fill->indicator;
  encoding.outputs = std::move(decision.outputs);

  // The training rows by their numbers, which saves finding every value once more.
  if (decision.trains_on_values) {
    const auto values = fit.block.value(0);
    for (std::size_t row = 0; row < values.size(); ++row) values[row] = value_of(coded.codes[row]);
  }
  if (encoding.indicator) {
    const auto flags = fit.block.flag(fit.shape.flags.size());
    for (std::size_t row = 0; row < flags.size(); ++row)
      flags[row] = coded.was_missing[row] ? 1 : 0;
  }
  auto stage = std::make_unique<CategoryStage>(std::move(encoding), fit.shape.flags.size());
  stage->advance(fit.shape);
  return StagePtr(std::move(stage));
}

void note_many(const Coded& coded, FitBlock& fit) {
  if (coded.index.size() > 20 && coded.index.size() * 2 > coded.codes.size()) {
    fit.notes->push_back("'" + fit.shape.names[0] + "' has " + std::to_string(coded.index.size()) +
                         " categories in " + std::to_string(coded.codes.size()) +
                         " rows: is it an identifier?");
  }
}

}  // namespace

Result<StagePtr> fit_onehot(const OneHot& spec, const Impute* fill, FitBlock& fit) {
  const auto coded = code(fill, "onehot", fit);
  if (!coded) return coded.error();
  const std::vector<std::int32_t> sorted = coded->index.sorted();
  const auto count = [&](std::int32_t number) {
    return coded->counts[static_cast<std::size_t>(number)];
  };
  std::vector<std::int32_t> by_count = sorted;
  std::stable_sort(by_count.begin(), by_count.end(),
                   [&](std::int32_t a, std::int32_t b) { return count(a) > count(b); });
  std::vector<bool> own(coded->index.size(), false);
  const double least = spec.min_share * static_cast<double>(coded->codes.size());
  for (std::size_t i = 0; i < by_count.size() && i < spec.max_categories; ++i) {
    own[static_cast<std::size_t>(by_count[i])] = static_cast<double>(count(by_count[i])) >= least;
  }
  std::vector<std::string> outputs;
  std::vector<double> places(coded->index.size(), kNowhere);
  std::vector<std::int32_t> keep;
  for (const std::int32_t number : sorted) {
    const auto i = static_cast<std::size_t>(number);
    if (!own[i]) continue;
    places[i] = static_cast<double>(outputs.size());
    outputs.push_back(coded->index.label(i));
    keep.push_back(number);
  }
  double rare = kNowhere;
  if (keep.size() < sorted.size()) {
    rare = static_cast<double>(outputs.size());
    outputs.emplace_back("(rare)");
    for (const std::int32_t number : sorted) {
      if (own[static_cast<std::size_t>(number)]) continue;
      places[static_cast<std::size_t>(number)] = rare;
      // Where an unseen category counts as rare there is no need to know the rare ones by name.
      if (spec.unknown != OneHot::Unknown::rare) keep.push_back(number);
    }
  }
  double unknown = spec.unknown == OneHot::Unknown::rare ? rare : kNowhere;
  if (spec.unknown == OneHot::Unknown::bucket) {
    unknown = static_cast<double>(outputs.size());
    outputs.emplace_back("(unknown)");
  }
  double missing = unknown;
  if (coded->missing > 0) {
    missing = static_cast<double>(outputs.size());
    outputs.emplace_back("(missing)");
  }
  return finish(
      *coded, {"onehot", std::move(keep), std::move(places), unknown, missing, std::move(outputs)},
      fill, fit);
}

Result<StagePtr> fit_ordinal(const Ordinal& spec, const Impute* fill, FitBlock& fit) {
  const auto coded = code(fill, "ordinal", fit);
  if (!coded) return coded.error();
  Coded known = *coded;
  std::vector<std::int32_t> order;
  if (spec.order.empty()) {
    order = known.index.sorted();
    note_many(known, fit);
  } else {
    const std::size_t seen = known.index.size();
    for (const Json& value : spec.order) {
      const auto number = known.index.insert(value);
      if (!number) return number.error().at("ordinal: order");
      order.push_back(*number);
    }
    for (std::size_t i = 0; i < seen; ++i) {
      if (std::find(order.begin(), order.end(), static_cast<std::int32_t>(i)) != order.end())
        continue;
      fit.notes->push_back("'" + fit.shape.names[0] + "' holds '" + known.index.label(i) +
                           "', which `order` does not name: it becomes missing");
    }
  }
  std::vector<double> positions(known.index.size(), kMissing);
  for (std::size_t i = 0; i < order.size(); ++i) {
    positions[static_cast<std::size_t>(order[i])] = static_cast<double>(i);
  }
  return finish(known, {"ordinal", std::move(order), std::move(positions), kMissing, kMissing, {}},
                fill, fit);
}

Result<StagePtr> fit_frequency(const Frequency& spec, const Impute* fill, FitBlock& fit) {
  const auto coded = code(fill, "count", fit);
  if (!coded) return coded.error();
  const double unit = spec.counts ? 1 : static_cast<double>(coded->codes.size());
  std::vector<double> values;
  for (const std::size_t count : coded->counts) values.push_back(static_cast<double>(count) / unit);
  const double missing = static_cast<double>(coded->missing) / unit;
  return finish(*coded, {"frequency", coded->index.sorted(), std::move(values), 0, missing, {}},
                fill, fit);
}

Result<StagePtr> fit_target_encode(const TargetEncode& spec, const Impute* fill, FitBlock& fit) {
  if (fit.target.size() != fit.block.rows) {
    return invalid_argument("target_encode needs the target, and none was given");
  }
  const auto coded = code(fill, "target_encode", fit);
  if (!coded) return coded.error();
  note_many(*coded, fit);
  const std::size_t rows = fit.block.rows;
  const std::size_t categories = coded->index.size() + 1;  // the last: missing
  struct Sum {
    double sum = 0;
    double count = 0;
  };
  std::vector<std::uint8_t> folds(rows);
  for (std::size_t row = 0; row < rows; ++row)
    folds[row] = static_cast<std::uint8_t>(row % spec.folds);
  Rng rng = Rng(fit.seed).child("target_encode.folds", spec.folds);
  rng.shuffle(folds);
  const auto category = [&](std::size_t row) {
    const std::int32_t number = coded->codes[row];
    return number < 0 ? categories - 1 : static_cast<std::size_t>(number);
  };
  std::vector<Sum> of_fold(categories * spec.folds);
  for (std::size_t row = 0; row < rows; ++row) {
    Sum& sum = of_fold[category(row) * spec.folds + folds[row]];
    sum.sum += fit.target[row];
    sum.count += 1;
  }
  const auto encode = [&](const Sum& sum, double prior) {
    const double weight = sum.count + spec.smoothing;
    return weight > 0 ? (sum.sum + spec.smoothing * prior) / weight : prior;
  };
  // Sums without fold f, in the order of the folds; f = folds: of all rows.
  const auto without = [&](std::size_t category_number, std::size_t f) {
    Sum sum;
    for (std::size_t g = 0; g < spec.folds; ++g) {
      if (g == f) continue;
      sum.sum += of_fold[category_number * spec.folds + g].sum;
      sum.count += of_fold[category_number * spec.folds + g].count;
    }
    return sum;
  };
  std::vector<double> priors(spec.folds + 1);
  std::vector<double> encoded(categories * (spec.folds + 1));
  for (std::size_t f = spec.folds + 1; f-- > 0;) {
    Sum all;
    for (std::size_t c = 0; c < categories; ++c) {
      const Sum sum = without(c, f);
      all.sum += sum.sum;
      all.count += sum.count;
    }
    priors[f] = all.count > 0 ? all.sum / all.count : priors[spec.folds];
    for (std::size_t c = 0; c < categories; ++c) {
      encoded[c * (spec.folds + 1) + f] = encode(without(c, f), priors[f]);
    }
  }
  std::vector<double> values(categories);
  for (std::size_t c = 0; c < categories; ++c)
    values[c] = encoded[c * (spec.folds + 1) + spec.folds];
  const auto out = fit.block.value(0);
  for (std::size_t row = 0; row < rows; ++row) {
    out[row] = encoded[category(row) * (spec.folds + 1) + folds[row]];
  }
  const double missing = values[categories - 1];
  return finish(*coded,
                {"target_encode",
                 coded->index.sorted(),
                 std::move(values),
                 priors[spec.folds],
                 missing,
                 {},
                 /*trains_on_values=*/false},
                fill, fit);
}

Result<StagePtr> category_stage_from_json(const Json& json, const Shape& shape) {
  Encoding encoding;
  encoding.op = json.at("op").get<std::string>();
  encoding.raw = json.at("raw").get<bool>();
  if (encoding.raw != shape.raw || shape.names.size() != 1) {
    return invalid_argument(encoding.op + " cannot stand at this place of the chain");
  }
  encoding.index =
      CategoryIndex(encoding.raw ? CategoryIndex::kind_of(shape.type) : CategoryIndex::Kind::real);
  for (const Json& key : json.at("keys")) {
    const auto number = encoding.index.insert(key);
    if (!number) return number.error().at(encoding.op);
    if (static_cast<std::size_t>(*number) != encoding.values.size()) {
      return invalid_argument(encoding.op + " names the category " + key.dump() + " twice");
    }
    const Json& values = json.at("values");
    encoding.values.push_back(number_or_nan(values.at(encoding.values.size())));
  }
  encoding.unknown = number_or_nan(json.at("unknown"));
  encoding.missing = number_or_nan(json.at("missing"));
  encoding.indicator = json.at("indicator").get<bool>();
  encoding.outputs = json.at("outputs").get<std::vector<std::string>>();
  if (encoding.op == "onehot") {
    const auto outside = [&](double place) {
      return !(place >= kNowhere && place < static_cast<double>(encoding.outputs.size()));
    };
    if (outside(encoding.unknown) || outside(encoding.missing) ||
        std::any_of(encoding.values.begin(), encoding.values.end(), outside) ||
        encoding.outputs.empty()) {
      return invalid_argument("onehot points outside its outputs");
    }
  }
  return std::make_unique<CategoryStage>(std::move(encoding), shape.flags.size());
}

}  // namespace slipway::features
