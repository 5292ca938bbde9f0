// `collect`: what a deployment was asked, with the labels that have come back: new data to learn
// from.
//   collect:
//     deployment: flights
//     label: late                        # name of the label's column
//     from: 2013-04-01                   # the deployment's time: from <= time < until
//     until: ${params.until}             # also: only labels known by then
//     time: time_hour                    # add the time of the request as this column, unless it is
//     an input dataset: flights_live
#include "base/file.h"
#include "steps/common_internal.h"

namespace slipway::steps {
namespace {

struct CollectSpec {
  std::string deployment, label, from, until, dataset, time;
  static CollectSpec read(SpecReader& reader) {
    CollectSpec spec;
    spec.deployment = reader.text("deployment");
    spec.label = reader.text("label");
    spec.from = reader.text("from", "1970-01-01");
    spec.until = reader.text("until", "");
    spec.dataset = reader.text("dataset");
    spec.time = reader.text("time", "");
    return spec;
  }
};

class CollectStep final : public pipeline::StepKind {
 public:
  explicit CollectStep(const Services& services) : services_(services) {}
  std::string_view name() const override { return "collect"; }
  Result<void> check(SpecReader& config) const override {
    CollectSpec::read(config);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"dataset", "rows", "unlabelled"}};
  }
  std::vector<std::string> produces(const Json& config) const override {
    return {"dataset " + config.value("dataset", "")};
  }
  // The log and the labels grow: how far they have come decides.
  Result<Json> fingerprint(const Context&, const pipeline::StepInputs& in) const override {
    const std::string deployment = in.config.json().value("deployment", "");
    auto labels = services_.labels.count(deployment);
    if (!labels) return labels.error();
    const auto watermark = services_.traffic.watermark(deployment);
    return Json{{"labels", *labels},
                {"watermark", watermark ? Json(format_time(*watermark)) : Json(nullptr)}};
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    const CollectSpec spec = CollectSpec::read(reader);
    if (auto sound = reader.finish(); !sound) return sound.error();
    auto from = parse_time(spec.from);
    if (!from) return from.error().at(call.config.place("from"));
    Time until = services_.traffic.watermark(spec.deployment).value_or(Time{}) + Duration{1};
    if (!spec.until.empty()) {
      auto parsed = parse_time(spec.until);
      if (!parsed) return parsed.error().at(call.config.place("until"));
      until = *parsed;
    }
    call.progress(0.1, "reading the prediction log");
    auto table = services_.traffic.read(spec.deployment, *from, until, false);
    if (!table) return table.error();
    if (*table == nullptr)
      return failed_precondition("the deployment '" + spec.deployment +
                                 "' has logged no prediction yet");
    auto labels = label_table(*table, until, spec.label);
    if (!labels) return labels.error();
    auto engine = open_engine(call.work_dir);
    if (!engine) return engine.error();
    if (auto added = (*engine)->add_table("log", *table); !added) return added.error();
    if (auto added = (*engine)->add_table("labels", labels->table); !added) return added.error();
    if (labels->rows == 0)
      return failed_precondition("no label of '" + spec.deployment + "' has arrived until " +
                                 format_time(until));
    auto schema = (*engine)->describe("SELECT * FROM log");
    if (!schema) return schema.error();
    std::string time_column;
    if (!spec.time.empty() && !schema->index(spec.time))
      time_column = ", log.time AS " + data::quote_name(spec.time);
    NewDataset dataset{.name = spec.dataset};
    // Among the log's own columns an input may bear one of their names; it is then called
    // "input.<name>".
    std::string renamed;
    for (const char* own : {"id", "time", "version", "role", "alias", "latency_us", "score"}) {
      if (schema->index("input." + std::string(own)))
        renamed += ", log." + data::quote_name("input." + std::string(own)) + " AS " +
                   data::quote_name(own);
    }
    std::string excluded = "id, time, version, role, alias, latency_us, score";
    for (const data::Field& field : schema->fields) {
      if (field.name.starts_with("input.")) excluded += ", " + data::quote_name(field.name);
    }
    dataset.sql = "SELECT log.* EXCLUDE (" + excluded + ")" + renamed + ", labels." +
                  data::quote_name(spec.label) + time_column +
                  ", log.id AS prediction_id FROM log JOIN labels ON labels.id = log.id ORDER BY "
                  "log.time, log.id";
    dataset.provenance = {{"step", "collect"},
                          {"deployment", spec.deployment},
                          {"from", format_time(*from)},
                          {"until", format_time(until)}};
    auto committed = commit_sql(ctx, call, services_, **engine, dataset);
    if (!committed) return committed.error();
    const governance::Node source{governance::NodeType::deployment, spec.deployment};
    const governance::Node into{governance::NodeType::dataset, committed->ref.text()};
    if (auto noted = services_.lineage.record(ctx, {source, into, "collect"}); !noted)
      return noted.error();
    pipeline::StepResult result;
    result.outputs = {{"dataset", committed->ref.text()},
                      {"rows", committed->rows},
                      {"unlabelled", labels->missing}};
    result.summary = fmt::format("{} labelled predictions, {} without a label yet", committed->rows,
                                 labels->missing);
    return result;
  }

 private:
  struct LabelTable {
    data::TablePtr table;
    std::int64_t rows = 0, missing = 0;
  };
  Result<LabelTable> label_table(const data::TablePtr& log, Time until,
                                 const std::string& name) const {
    auto columns = data::Columns::from_table(log);
    if (!columns) return columns.error();
    auto id = columns->column("id");
    if (!id) return id.error();
    std::vector<std::string> ids(static_cast<std::size_t>(columns->rows()));
    for (std::int64_t row = 0; row < columns->rows(); ++row)
      ids[static_cast<std::size_t>(row)] = std::string(id->text(row));
    auto found = services_.labels.find(ids, until);
    if (!found) return found.error();
    LabelTable result;
    bool whole = true;
    for (const auto& label : *found) {
      if (label && std::floor(label->value) != label->value) whole = false;
    }
    data::BatchBuilder builder({{{"id", data::Type::text, false},
                                 {name, whole ? data::Type::int64 : data::Type::float64, false}}});
    for (const auto& label : *found) {
      if (!label) {
        ++result.missing;
        continue;
      }
      builder.append_text(0, label->prediction_id);
      if (whole) {
        builder.append_integer(1, static_cast<std::int64_t>(label->value));
      } else {
        builder.append_real(1, label->value);
      }
      ++result.rows;
    }
    auto table = builder.to_table();
    if (!table) return table.error();
    result.table = *table;
    return result;
  }

  Services services_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_collect(const Services& services) {
  return std::make_unique<CollectStep>(services);
}

}  // namespace slipway::steps
