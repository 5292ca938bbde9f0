#include "governance/modelcard.h"

namespace slipway::governance {
namespace {

constexpr std::size_t kMaxSlices = 30;
constexpr std::string_view kTag = "slipway.card.";

const Json kNothing;

// A member, or null when the value is no object or has none.
const Json& at(const Json& json, std::string_view key) {
  if (!json.is_object()) return kNothing;
  const auto found = json.find(key);
  return found == json.end() ? kNothing : *found;
}

bool has(const Json& json) {
  return !json.is_null() && !(json.is_string() && json.get_ref<const std::string&>().empty()) &&
         !(json.is_structured() && json.empty());
}

// Text that came from people or files, safe inside a Markdown paragraph or table cell.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\n':
      case '\r':
      case '\t':
        out += ' ';
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '|':
      case '`':
      case '*':
      case '_':
      case '[':
      case ']':
      case '\\':
        out += '\\';
        out += c;
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) out += c;
    }
  }
  return out;
}

std::string code(std::string_view text) {
  std::string out = "`";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != '`' && c != '|' && c != 0x7F) out += c;
  }
  return out + "`";
}

std::string shown(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  if (value.is_number()) return fmt::format("{:.4g}", value.get<double>());
  if (value.is_null()) return "–";
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && (line.front() == ' ' || line.front() == '-')) line.erase(0, 1);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0)
      line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

class Markdown {
 public:
  void heading(int level, const std::string& text) {
    text_ += std::string(static_cast<std::size_t>(level), '#') + " " + text + "\n\n";
  }
  void paragraph(const std::string& text) { text_ += text + "\n\n"; }
  void items(const std::vector<std::string>& lines) {
    for (const std::string& line : lines) text_ += "- " + line + "\n";
    text_ += "\n";
  }
  void row(const std::vector<std::string>& cells) {
    text_ += "|";
    for (const std::string& cell : cells) text_ += " " + cell + " |";
    text_ += "\n";
  }
  void table(const std::vector<std::string>& header) {
    row(header);
    row(std::vector<std::string>(header.size(), "---"));
  }
  void end_table() { text_ += "\n"; }
  void statement(const std::string& title, const std::string& text) {
    heading(2, title);
    std::vector<std::string> lines;
    for (const std::string& line : lines_of(text)) lines.push_back(plain(line));
    if (lines.empty()) {
      paragraph("_Not stated._");
    } else {
      items(lines);
    }
  }
  void fenced(const std::string& text) {
    // A fence longer than any run of backticks inside.
    std::size_t longest = 0;
    std::size_t run = 0;
    for (const char c : text) longest = std::max(longest, run = c == '`' ? run + 1 : 0);
    const std::string fence(std::max<std::size_t>(3, longest + 1), '`');
    text_ += fence + "text\n" + text + (text.ends_with('\n') ? "" : "\n") + fence + "\n\n";
  }
  std::string take() {
    while (text_.ends_with("\n\n")) text_.pop_back();
    return std::move(text_);
  }

 private:
  std::string text_;
};

void add_identity(const ModelCardFacts& facts, Markdown& page) {
  page.heading(1, plain(facts.model) + ", version " + std::to_string(facts.version));
  if (!facts.description.empty()) page.paragraph(plain(facts.description));
  std::string aliases;
  for (const std::string& alias : facts.aliases)
    aliases += (aliases.empty() ? "" : ", ") + plain(alias);
  page.table({"", ""});
  page.row({"Created", format_time(facts.created)});
  page.row({"Owner", facts.owner.empty() ? "_not stated_" : plain(facts.owner)});
  page.row({"Aliases", aliases.empty() ? "none" : aliases});
  page.row({"License",
            facts.statements.license.empty() ? "_not stated_" : plain(facts.statements.license)});
  page.row({"Bundle (SHA-256)", facts.bundle.empty() ? "–" : code(facts.bundle)});
  page.row({"Run", facts.run_id.empty() ? "–" : code(facts.run_id)});
  page.end_table();
}

void add_data(const ModelCardFacts& facts, Markdown& page) {
  const Json& provenance = facts.provenance;
  page.heading(2, "Training data");
  if (!has(at(provenance, "dataset"))) {
    page.paragraph("_Not recorded._");
  } else {
    page.table({"", ""});
    page.row({"Dataset", code(shown(at(provenance, "dataset")))});
    page.row({"Rows", shown(at(provenance, "rows"))});
    const Json& window = at(provenance, "window");
    if (has(at(window, "column"))) {
      page.row({"Window", code(shown(at(window, "column"))) + " from " +
                              plain(shown(at(window, "from"))) + " until " +
                              plain(shown(at(window, "until")))});
    }
    page.end_table();
  }
  page.heading(2, "Inputs");
  if (!facts.inputs.is_array() || facts.inputs.empty()) {
    page.paragraph("_Not recorded._");
    return;
  }
  page.table({"Name", "Type", "May be missing"});
  for (const Json& field : facts.inputs) {
    page.row({code(shown(at(field, "name"))), plain(shown(at(field, "type"))),
              at(field, "nullable") == Json(false) ? "no" : "yes"});
  }
  page.end_table();
}

void add_metrics(const ModelCardFacts& facts, Markdown& page) {
  page.heading(2, "Performance");
  const Json& measured = facts.evaluation;
  if (!has(at(measured, "metrics"))) {
    if (!has(facts.metrics) || !facts.metrics.is_object()) {
      page.paragraph("_Not measured._");
      return;
    }
    page.paragraph("As measured in training; no separate evaluation is recorded.");
    page.table({"Metric", "Value"});
    for (const auto& [name, value] : facts.metrics.items()) page.row({plain(name), shown(value)});
    page.end_table();
    return;
  }
  const std::string champion = shown(at(measured, "champion_name"));
  const bool compared = has(at(measured, "champion_name"));
  page.paragraph("On " + shown(at(measured, "rows")) + " labelled rows, mean label " +
                 shown(at(measured, "label_rate")) + ", mean score " +
                 shown(at(measured, "mean_score")) + ".");
  std::vector<std::string> header = {
      "Metric", "Value",
      fmt::format("{:.4g} % interval", at(measured, "confidence").is_number()
                                           ? at(measured, "confidence").get<double>() * 100
                                           : 95.0),
      "Naive model"};
  if (compared) header.push_back("Champion (" + plain(champion) + ")");
  page.table(header);
  for (const auto& [name, value] : at(measured, "metrics").items()) {
    const Json& interval = at(at(measured, "intervals"), name);
    std::vector<std::string> cells = {plain(name), shown(value),
                                      interval.is_array() && interval.size() == 2
                                          ? shown(interval[0]) + " to " + shown(interval[1])
                                          : "–",
                                      shown(at(at(measured, "naive"), name))};
    if (compared) cells.push_back(shown(at(at(measured, "champion"), name)));
    page.row(cells);
  }
  page.end_table();
  for (const auto& [name, why] : at(measured, "undefined").items())
    page.paragraph(plain(name) + " is undefined: " + plain(shown(why)) + ".");
  const Json& confusion = at(measured, "confusion");
  if (at(measured, "task") == Json("binary") && has(confusion)) {
    page.paragraph("At the threshold " + shown(at(measured, "threshold")) + ": " +
                   shown(at(confusion, "true_positive")) + " true and " +
                   shown(at(confusion, "false_positive")) + " false positives, " +
                   shown(at(confusion, "true_negative")) + " true and " +
                   shown(at(confusion, "false_negative")) + " false negatives.");
  }
}

void add_slices(const ModelCardFacts& facts, Markdown& page) {
  const Json& slices = at(facts.evaluation, "slices");
  if (!slices.is_array() || slices.empty()) return;
  page.heading(3, "By slice");
  std::vector<std::string> names;  // the metrics that some slice has, in order
  for (const Json& slice : slices) {
    for (const auto& [name, value] : at(slice, "metrics").items()) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  std::vector<std::string> header = {"Slice", "Rows", "Mean label", "Mean score"};
  for (const std::string& name : names) header.push_back(plain(name));
  page.table(header);
  std::size_t count = 0;
  for (const Json& slice : slices) {
    if (count++ == kMaxSlices) break;
    std::vector<std::string> cells = {
        plain(shown(at(slice, "column"))) + " = " + plain(shown(at(slice, "value"))),
        shown(at(slice, "rows")), shown(at(slice, "label_rate")), shown(at(slice, "mean_score"))};
    for (const std::string& name : names) cells.push_back(shown(at(at(slice, "metrics"), name)));
    page.row(cells);
  }
  page.end_table();
  if (slices.size() > kMaxSlices) {
    page.paragraph(std::to_string(slices.size() - kMaxSlices) +
                   " more slices are in the evaluation.");
  }
}

void add_gate(const ModelCardFacts& facts, Markdown& page) {
  page.heading(2, "Gate");
  if (!has(facts.gate)) {
    page.paragraph("_No gate decided on this version._");
    return;
  }
  page.paragraph((at(facts.gate, "passed") == Json(true) ? "**Passed:** " : "**Refused:** ") +
                 plain(shown(at(facts.gate, "reason"))) + ".");
  const Json& clauses = at(facts.gate, "clauses");
  if (!clauses.is_array() || clauses.empty()) return;
  page.table({"Condition", "Holds", "Why"});
  for (const Json& clause : clauses) {
    page.row({plain(shown(at(clause, "text"))), at(clause, "ok") == Json(true) ? "yes" : "no",
              plain(shown(at(clause, "reason")))});
  }
  page.end_table();
}

void add_making(const ModelCardFacts& facts, Markdown& page) {
  page.heading(2, "How it was made");
  page.table({"", ""});
  for (const auto& [key, title] : std::initializer_list<std::pair<const char*, const char*>>{
           {"pipeline", "Pipeline"},
           {"pipeline_run", "Pipeline run"},
           {"code_commit", "Code commit"},
           {"features_sha256", "Feature pipeline (SHA-256)"},
           {"seed", "Seed"},
           {"trainer", "Trainer"},
           {"params", "Parameters"}}) {
    const Json& value = at(facts.provenance, key);
    page.row({title, has(value) ? code(shown(value)) : "_not recorded_"});
  }
  page.end_table();
  if (facts.lineage) {
    page.heading(3, "Lineage");
    page.fenced(render_text(*facts.lineage));
  }
}

Json described(const std::string& text) {
  Json list = Json::array();
  for (const std::string& line : lines_of(text)) list.push_back({{"description", line}});
  return list;
}

void add_performance(const Json& metrics, const Json& intervals, const std::string& slice,
                     Json& list) {
  if (!metrics.is_object()) return;
  for (const auto& [name, value] : metrics.items()) {
    if (!value.is_number()) continue;
    Json one = {{"type", name}, {"value", value}};
    if (!slice.empty()) one["slice"] = slice;
    const Json& interval = at(intervals, name);
    if (interval.is_array() && interval.size() == 2)
      one["confidence_interval"] = {{"lower_bound", interval[0]}, {"upper_bound", interval[1]}};
    list.push_back(std::move(one));
  }
}

}  // namespace

ModelCardStatements ModelCardStatements::from_tags(const registry::Tags& tags) {
  const auto tag = [&](std::string_view name) {
    const auto found = tags.find(std::string(kTag) + std::string(name));
    return found == tags.end() ? std::string() : found->second;
  };
  return {tag("users"),
          tag("use_cases"),
          tag("limitations"),
          tag("tradeoffs"),
          tag("ethical_considerations"),
          tag("license")};
}

ModelCardFacts facts_of(const registry::ModelVersion& version) {
  ModelCardFacts facts;
  facts.model = version.model;
  facts.version = version.number;
  facts.description = version.description;
  facts.owner = version.user;
  facts.created = version.created;
  facts.aliases = version.aliases;
  facts.bundle = version.digest;
  facts.run_id = version.run_id;
  facts.inputs = at(version.metadata, "inputs");
  facts.metrics = at(version.metadata, "metrics");
  facts.provenance = at(version.metadata, "provenance");
  facts.statements = ModelCardStatements::from_tags(version.tags);
  return facts;
}

std::vector<std::string> model_card_gaps(const ModelCardFacts& facts) {
  const std::vector<std::pair<bool, const char*>> asked = {
      {!facts.description.empty(), "a description"},
      {!facts.owner.empty(), "an owner"},
      {!facts.statements.license.empty(), "a license"},
      {!facts.statements.users.empty(), "intended users"},
      {!facts.statements.use_cases.empty(), "intended uses"},
      {!facts.statements.limitations.empty(), "known limitations"},
      {!facts.statements.ethical_considerations.empty(), "ethical considerations"},
      {facts.inputs.is_array() && !facts.inputs.empty(), "the inputs"},
      {has(at(facts.provenance, "dataset")), "the training data"},
      {has(at(facts.provenance, "code_commit")), "the code's commit"},
      {has(at(facts.evaluation, "metrics")), "an evaluation"},
      {has(at(facts.evaluation, "slices")), "performance by slice"},
      {has(facts.gate), "a gate's decision"},
      {facts.lineage.has_value(), "the lineage"},
  };
  std::vector<std::string> gaps;
  for (const auto& [answered, what] : asked) {
    if (!answered) gaps.emplace_back(what);
  }
  return gaps;
}

std::string model_card_markdown(const ModelCardFacts& facts) {
  Markdown page;
  add_identity(facts, page);
  page.statement("Intended users", facts.statements.users);
  page.statement("Intended uses", facts.statements.use_cases);
  add_data(facts, page);
  add_metrics(facts, page);
  add_slices(facts, page);
  add_gate(facts, page);
  page.statement("Limitations", facts.statements.limitations);
  page.statement("Tradeoffs", facts.statements.tradeoffs);
  page.statement("Ethical considerations", facts.statements.ethical_considerations);
  add_making(facts, page);
  if (const auto gaps = model_card_gaps(facts); !gaps.empty()) {
    page.heading(2, "Gaps");
    page.paragraph("This card does not tell:");
    page.items(gaps);
  }
  return page.take();
}

Json model_card_json(const ModelCardFacts& facts) {
  Json details = {{"name", facts.model},
                  {"documentation", model_card_markdown(facts)},
                  {"version",
                   {{"name", std::to_string(facts.version)},
                    {"date", format_time(facts.created).substr(0, 10)}}}};
  if (!facts.description.empty()) details["overview"] = facts.description;
  if (!facts.owner.empty()) details["owners"] = Json::array({{{"name", facts.owner}}});
  if (!facts.statements.license.empty())
    details["licenses"] = Json::array({{{"identifier", facts.statements.license}}});

  Json parameters = Json::object();
  if (const Json& trainer = at(facts.provenance, "trainer"); has(trainer))
    parameters["model_architecture"] = shown(trainer);
  if (const Json& dataset = at(facts.provenance, "dataset"); has(dataset)) {
    parameters["data"] = Json::array(
        {{{"name", shown(dataset)},
          {"description", "training data, " + shown(at(facts.provenance, "rows")) + " rows"}}});
  }
  if (facts.inputs.is_array() && !facts.inputs.empty())
    parameters["input_format"] = canonical(facts.inputs);

  Json performance = Json::array();
  const Json& measured = facts.evaluation;
  add_performance(has(at(measured, "metrics")) ? at(measured, "metrics") : facts.metrics,
                  at(measured, "intervals"), "", performance);
  if (const Json& slices = at(measured, "slices"); slices.is_array()) {
    for (const Json& slice : slices) {
      add_performance(at(slice, "metrics"), kNothing,
                      shown(at(slice, "column")) + "=" + shown(at(slice, "value")), performance);
    }
  }

  Json considerations = Json::object();
  for (const auto& [key, text] : std::initializer_list<std::pair<const char*, const std::string&>>{
           {"users", facts.statements.users},
           {"use_cases", facts.statements.use_cases},
           {"limitations", facts.statements.limitations},
           {"tradeoffs", facts.statements.tradeoffs}}) {
    if (!text.empty()) considerations[key] = described(text);
  }
  for (const std::string& line : lines_of(facts.statements.ethical_considerations)) {
    considerations["ethical_considerations"].push_back({{"name", line}});
  }
  return {{"schema_version", "0.0.2"},
          {"model_details", std::move(details)},
          {"model_parameters", std::move(parameters)},
          {"quantitative_analysis", {{"performance_metrics", std::move(performance)}}},
          {"considerations", std::move(considerations)}};
}

}  // namespace slipway::governance
