// Stages that spread one value over many outputs, and write those into the matrix themselves: hash
// (categories), text_hash and tfidf (texts).
#include <charconv>
#include <cmath>

#include "features/category_internal.h"
#include "features/stage_internal.h"
#include "features/text_internal.h"

namespace slipway::features {
namespace {

constexpr std::size_t kMostOutputs = 4096;

std::string_view unit_name(Analyzer::Unit unit) {
  return unit == Analyzer::Unit::word    ? "word"
         : unit == Analyzer::Unit::chars ? "chars"
                                         : "chars_in_words";
}

Json analyzer_to_json(const Analyzer& analyzer) {
  return {{"unit", unit_name(analyzer.unit)},
          {"least", analyzer.least},
          {"most", analyzer.most},
          {"lowercase", analyzer.lowercase}};
}

Result<Analyzer> analyzer_from_json(const Json& json) {
  Analyzer out;
  const auto unit = json.at("unit").get<std::string>();
  for (const auto each :
       {Analyzer::Unit::word, Analyzer::Unit::chars, Analyzer::Unit::chars_in_words}) {
    if (unit_name(each) == unit) out.unit = each;
  }
  out.least = json.at("least").get<std::size_t>();
  out.most = json.at("most").get<std::size_t>();
  out.lowercase = json.at("lowercase").get<bool>();
  if (unit_name(out.unit) != unit || out.least < 1 || out.most < out.least || out.most > 10) {
    return invalid_argument("the analyzer of a text is not one");
  }
  return out;
}

// Where a hash falls, and with which sign; as scikit-learn's FeatureHasher.
struct Bucket {
  std::size_t at;
  double sign;
};
Bucket bucket_of(std::string_view term, std::size_t buckets, bool sign) {
  const std::uint32_t hash = murmur3(term);
  const bool negative = (hash >> 31) != 0;
  const std::uint32_t size = negative ? ~hash + 1 : hash;
  return {size % buckets, sign && negative ? -1.0 : 1.0};
}

void fill_row(float* row, std::size_t size, float value) { std::fill_n(row, size, value); }

// Counts of a row's terms by output, kept by each thread.
struct Counter {
  TermFinder finder;
  std::vector<double> counts;
  std::vector<std::size_t> touched;
  void begin(std::size_t size) {
    if (counts.size() < size) counts.resize(size, 0);
  }
  void add(std::size_t at, double amount) {
    if (counts[at] == 0) touched.push_back(at);
    counts[at] += amount;
  }
  // Puts the counts into the row, scaled to length 1 if wanted, and is empty again. The sum goes
  // in the order of the outputs: it does not depend on the order of the terms.
  void finish(float* row, bool normalize) {
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    double squares = 0;
    for (const std::size_t at : touched) squares += counts[at] * counts[at];
    const double length = normalize && squares > 0 ? std::sqrt(squares) : 1;
    for (const std::size_t at : touched) {
      row[at] = static_cast<float>(counts[at] / length);
      counts[at] = 0;
    }
    touched.clear();
  }
};

class HashStage final : public Stage {
 public:
  HashStage(Hash spec, data::Type type) : spec_(spec), type_(type) {}
  void apply(Block&) const override {}
  bool writes() const override { return true; }
  void write(const Block& block, float* out, std::size_t stride) const override {
    for (std::size_t i = 0; i < block.rows; ++i) {
      const std::int64_t row = block.begin + static_cast<std::int64_t>(i);
      float* to = out + i * stride;
      if (block.column->is_null(row)) {
        fill_row(to, spec_.buckets, static_cast<float>(kMissing));
        continue;
      }
      fill_row(to, spec_.buckets, 0);
      const Bucket bucket = bucket_of_row(*block.column, row);
      to[bucket.at] = static_cast<float>(bucket.sign);
    }
  }
  void advance(Shape& shape) const override {
    const std::string name = shape.names[0];
    shape.names.clear();
    for (std::size_t i = 0; i < spec_.buckets; ++i)
      shape.names.push_back(name + ".hash" + std::to_string(i));
    shape.raw = false;
    shape.closed = true;
  }
  Json to_json() const override {
    return {{"op", "hash"}, {"buckets", spec_.buckets}, {"sign", spec_.sign}};
  }

 private:
  Bucket bucket_of_row(const data::ColumnView& column, std::int64_t row) const {
    if (type_ == data::Type::text) return bucket_of(column.text(row), spec_.buckets, spec_.sign);
    if (type_ == data::Type::boolean)
      return bucket_of(column.boolean(row) ? "true" : "false", spec_.buckets, spec_.sign);
    std::array<char, 24> digits;
    const auto [end, error] =
        std::to_chars(digits.data(), digits.data() + digits.size(), column.integer(row));
    return bucket_of({digits.data(), static_cast<std::size_t>(end - digits.data())}, spec_.buckets,
                     spec_.sign);
  }
  Hash spec_;
  data::Type type_;
};

class TextHashStage final : public Stage {
 public:
  explicit TextHashStage(TextHash spec) : spec_(spec) {}
  void apply(Block&) const override {}
  bool writes() const override { return true; }
  void write(const Block& block, float* out, std::size_t stride) const override {
    thread_local Counter counter;
    counter.begin(spec_.buckets);
    for (std::size_t i = 0; i < block.rows; ++i) {
      const std::int64_t row = block.begin + static_cast<std::int64_t>(i);
      float* to = out + i * stride;
      if (block.column->is_null(row)) {
        fill_row(to, spec_.buckets, static_cast<float>(kMissing));
        continue;
      }
      fill_row(to, spec_.buckets, 0);
      counter.finder.each(spec_.analyzer, block.column->text(row), [&](std::string_view term) {
        const Bucket bucket = bucket_of(term, spec_.buckets, spec_.sign);
        counter.add(bucket.at, bucket.sign);
      });
      counter.finish(to, spec_.normalize);
    }
  }
  void advance(Shape& shape) const override {
    const std::string name = shape.names[0];
    shape.names.clear();
    for (std::size_t i = 0; i < spec_.buckets; ++i)
      shape.names.push_back(name + ".text" + std::to_string(i));
    shape.raw = false;
    shape.closed = true;
  }
  Json to_json() const override {
    return {{"op", "text_hash"},
            {"analyzer", analyzer_to_json(spec_.analyzer)},
            {"buckets", spec_.buckets},
            {"sign", spec_.sign},
            {"normalize", spec_.normalize}};
  }

 private:
  TextHash spec_;
};

class TfIdfStage final : public Stage {
 public:
  TfIdfStage(TfIdf spec, TextIndex terms, std::vector<double> weights)
      : spec_(spec), terms_(std::move(terms)), weights_(std::move(weights)) {}
  void apply(Block&) const override {}
  bool writes() const override { return true; }
  void write(const Block& block, float* out, std::size_t stride) const override {
    thread_local Counter counter;
    counter.begin(weights_.size());
    for (std::size_t i = 0; i < block.rows; ++i) {
      const std::int64_t row = block.begin + static_cast<std::int64_t>(i);
      float* to = out + i * stride;
      if (block.column->is_null(row)) {
        fill_row(to, weights_.size(), static_cast<float>(kMissing));
        continue;
      }
      fill_row(to, weights_.size(), 0);
      counter.finder.each(spec_.analyzer, block.column->text(row), [&](std::string_view term) {
        const std::int32_t number = terms_.find(term);
        if (number >= 0) counter.add(static_cast<std::size_t>(number), 1);
      });
      for (const std::size_t at : counter.touched) {
        double& count = counter.counts[at];
        count = (spec_.sublinear ? 1 + std::log(count) : count) * weights_[at];
      }
      counter.finish(to, spec_.normalize);
    }
  }
  void advance(Shape& shape) const override {
    const std::string name = shape.names[0];
    shape.names.clear();
    for (std::size_t i = 0; i < terms_.size(); ++i) {
      const std::string_view term = terms_.key(i);
      shape.names.push_back(name + ":" +
                            (is_utf8(term) ? std::string(term) : text_to_json(term).dump()));
    }
    shape.raw = false;
    shape.closed = true;
  }
  Json to_json() const override {
    Json terms = Json::array();
    for (std::size_t i = 0; i < terms_.size(); ++i) terms.push_back(text_to_json(terms_.key(i)));
    return {{"op", "tfidf"},
            {"analyzer", analyzer_to_json(spec_.analyzer)},
            {"terms", terms},
            {"weights", weights_},
            {"sublinear", spec_.sublinear},
            {"normalize", spec_.normalize}};
  }

 private:
  TfIdf spec_;
  TextIndex terms_;
  std::vector<double> weights_;
};

Result<void> any_text(const FitBlock& fit, std::string_view what) {
  const data::ColumnView& column = *fit.block.column;
  for (std::int64_t row = 0; row < column.rows; ++row) {
    if (!column.is_null(row)) return {};
  }
  return failed_precondition("no training row has a value to " + std::string(what) +
                             "; leave the column out");
}

}  // namespace

Result<StagePtr> fit_hash(const Hash& spec, FitBlock& fit) {
  if (const auto any = any_text(fit, "hash"); !any) return any.error();
  auto stage = std::make_unique<HashStage>(spec, fit.shape.type);
  stage->advance(fit.shape);
  return StagePtr(std::move(stage));
}

Result<StagePtr> fit_text_hash(const TextHash& spec, FitBlock& fit) {
  if (const auto any = any_text(fit, "hash"); !any) return any.error();
  auto stage = std::make_unique<TextHashStage>(spec);
  stage->advance(fit.shape);
  return StagePtr(std::move(stage));
}

Result<StagePtr> fit_tfidf(const TfIdf& spec, FitBlock& fit) {
  if (const auto any = any_text(fit, "find terms in"); !any) return any.error();
  const data::ColumnView& column = *fit.block.column;
  struct Term {
    std::size_t occurrences = 0;
    std::size_t rows = 0;
    std::int64_t last = -1;  // row counted
  };
  TextIndex index;
  std::vector<Term> terms;
  TermFinder finder;
  std::size_t rows = 0;
  for (std::int64_t row = 0; row < column.rows; ++row) {
    if (column.is_null(row)) continue;
    ++rows;
    finder.each(spec.analyzer, column.text(row), [&](std::string_view text) {
      const auto number = static_cast<std::size_t>(index.insert(text));
      if (number >= terms.size()) terms.resize(number + 1);
      Term& term = terms[number];
      ++term.occurrences;
      if (term.last == row) return;
      term.last = row;
      ++term.rows;
    });
  }
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    if (terms[i].rows >= spec.min_rows) kept.push_back(i);
  }
  if (kept.empty()) {
    return failed_precondition("no term stands in " + std::to_string(spec.min_rows) +
                               " training rows or more; lower min_rows of tfidf");
  }
  std::sort(kept.begin(), kept.end(), [&](std::size_t a, std::size_t b) {
    return terms[a].occurrences != terms[b].occurrences
               ? terms[a].occurrences > terms[b].occurrences
               : index.key(a) < index.key(b);
  });
  if (kept.size() > spec.max_terms) kept.resize(spec.max_terms);
  std::sort(kept.begin(), kept.end(),
            [&](std::size_t a, std::size_t b) { return index.key(a) < index.key(b); });
  TextIndex chosen;
  std::vector<double> weights;
  for (const std::size_t i : kept) {
    chosen.insert(index.key(i));
    weights.push_back(
        spec.weigh
            ? std::log(static_cast<double>(1 + rows) / static_cast<double>(1 + terms[i].rows)) + 1
            : 1);
  }
  auto stage = std::make_unique<TfIdfStage>(spec, std::move(chosen), std::move(weights));
  stage->advance(fit.shape);
  return StagePtr(std::move(stage));
}

Result<StagePtr> text_stage_from_json(const std::string& op, const Json& json, const Shape& shape) {
  const bool text = shape.type == data::Type::text;
  if (!shape.raw || (op != "hash" && !text) ||
      (op == "hash" && shape.type == data::Type::float64)) {
    return invalid_argument(op + " cannot stand at this place of the chain");
  }
  const auto buckets = [&]() -> Result<std::size_t> {
    const auto count = json.at("buckets").get<std::int64_t>();
    if (count < 1 || count > static_cast<std::int64_t>(kMostOutputs))
      return invalid_argument(op + " has an impossible number of buckets");
    return static_cast<std::size_t>(count);
  };
  if (op == "hash") {
    const auto count = buckets();
    if (!count) return count.error();
    return std::make_unique<HashStage>(Hash{*count, json.at("sign").get<bool>()}, shape.type);
  }
  const auto analyzer = analyzer_from_json(json.at("analyzer"));
  if (!analyzer) return analyzer.error();
  if (op == "text_hash") {
    const auto count = buckets();
    if (!count) return count.error();
    return std::make_unique<TextHashStage>(
        TextHash{*analyzer, *count, json.at("sign").get<bool>(), json.at("normalize").get<bool>()});
  }
  TfIdf spec;
  spec.analyzer = *analyzer;
  spec.sublinear = json.at("sublinear").get<bool>();
  spec.normalize = json.at("normalize").get<bool>();
  TextIndex terms;
  for (const Json& saved : json.at("terms")) {
    const auto term = text_from_json(saved);
    if (!term) return term.error();
    if (static_cast<std::size_t>(terms.insert(*term)) + 1 != terms.size())
      return invalid_argument("tfidf names a term twice");
    if (terms.size() > kMostOutputs) return invalid_argument("tfidf has too many terms");
  }
  auto weights = json.at("weights").get<std::vector<double>>();
  if (weights.size() != terms.size() || weights.empty() ||
      !std::all_of(weights.begin(), weights.end(),
                   [](double w) { return std::isfinite(w) && w < 1e30 && w > -1e30; })) {
    return invalid_argument("tfidf has not one weight for each term");
  }
  return std::make_unique<TfIdfStage>(spec, std::move(terms), std::move(weights));
}

}  // namespace slipway::features
