#include "pipeline/spec.h"

#include <queue>

#include "base/file.h"
#include "base/hash.h"
#include "pipeline/params_internal.h"
#include "pipeline/references_internal.h"

namespace slipway::pipeline {
namespace {

bool is_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !text.empty() && letter(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

constexpr std::string_view kNameRule =
    "a name begins with a letter and has letters, digits, '_' and '-'";

class SpecParser {
 public:
  SpecParser(const StepKinds& kinds, SpecDocument document, const std::filesystem::path& folder)
      : kinds_(kinds), raw_(std::move(document)) {
    spec_.folder = folder;
  }

  Result<PipelineSpec> parse(const std::map<std::string, std::string>& overrides) {
    spec_.params = read_params(raw_, overrides, note());
    if (!problems_.empty()) return failure();  // the rest would only repeat it
    replace_params();
    read_root();
    if (problems_.empty()) read_references();
    if (problems_.empty()) connect();
    if (problems_.empty()) check_single_writers();
    if (!problems_.empty()) return failure();
    return std::move(spec_);
  }

 private:
  NoteProblem note() {
    return [this](const std::string& pointer, const Error& error) {
      problems_.push_back(pointer.empty() ? error.message
                                          : raw_.place(pointer) + ": " + error.message);
    };
  }
  void problem(const std::string& pointer, std::string message) {
    note()(pointer, invalid_argument(std::move(message)));
  }
  Error failure() const { return invalid_argument(fmt::format("{}", fmt::join(problems_, "\n"))); }

  // The document as kinds see it: parameters replaced; steps and environment still stand.
  void replace_params() {
    const Json params = spec_.param_values();
    std::vector<std::string> names;
    for (const auto& param : spec_.params) names.push_back(param.name);
    const Lookup lookup = [&](const Reference& reference,
                              const std::string&) -> Result<std::optional<Json>> {
      if (reference.root != Reference::Root::params) return std::optional<Json>();
      const auto param = params.find(reference.name);
      if (param == params.end()) {
        return invalid_argument(fmt::format("unknown parameter '{}' in {}{}", reference.name,
                                            reference.text, suggestion(reference.name, names)));
      }
      const Json* value = follow_path(*param, reference.path);
      if (value == nullptr) {
        return invalid_argument(fmt::format("{} points at nothing: parameter '{}' is {}",
                                            reference.text, reference.name, param->dump()));
      }
      return std::optional<Json>(*value);
    };
    Json root = raw_.root();
    if (root.is_object() && root.contains("steps")) {
      root["steps"] = replace_references(root["steps"], "/steps", Escapes::keep, lookup, note());
    }
    spec_.document = std::make_shared<const SpecDocument>(raw_.with_value("", std::move(root)));
  }

  void read_root() {
    SpecReader root(*spec_.document);
    spec_.name = root.text("name");
    if (root.has("name") && !is_name(spec_.name)) {
      root.problem("name", fmt::format("'{}' cannot name a pipeline: {}", spec_.name, kNameRule));
    }
    spec_.description = root.text("description", "");
    spec_.seed = static_cast<std::uint64_t>(root.integer("seed", 0));
    root.json("params");
    auto entries = root.entries("steps");
    if (entries.empty())
      root.problem("steps", "a pipeline needs `steps`: a mapping of names to steps");
    std::stable_sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) {
      return position(raw_, a.second.pointer()) < position(raw_, b.second.pointer());
    });
    for (auto& [name, reader] : entries) read_step(name, reader);
    if (const auto done = root.finish(); !done) problems_.push_back(done.error().message);
  }

  void read_step(const std::string& name, SpecReader& reader) {
    StepSpec step;
    step.name = name;
    if (!is_name(name)) {
      reader.problem("", fmt::format("'{}' cannot name a step: {}", name, kNameRule));
    }
    step.needs = reader.texts("needs");
    step.retries = static_cast<int>(reader.integer("retries", 0));
    if (step.retries < 0) reader.problem("retries", "retries must be 0 or more");
    step.retry_delay = reader.duration("retry_delay", Duration{0});
    if (const auto timeout = reader.duration("timeout", Duration{0}); timeout.count() > 0) {
      step.timeout = timeout;
    } else if (reader.has("timeout")) {
      reader.problem("timeout", "a timeout must be longer than nothing");
    }
    step.cache = reader.boolean("cache", true);
    step.engine_keys = {"needs", "retries", "retry_delay", "timeout", "cache", "kind"};

    step.kind = kind_of(name, reader);
    const StepKind* kind = kinds_.find(step.kind);
    if (kind == nullptr) return;  // said already
    const Json& value = reader.value();
    const auto keyed = value.find(step.kind);
    const bool by_key = keyed != value.end() && !value.contains("kind");
    if (by_key && keyed->is_object()) {
      SpecReader settings = reader.object(step.kind);
      step.pointer = settings.pointer();
      step.engine_keys.clear();
      check(*kind, settings);
      reader.close();
    } else {
      if (by_key && keyed->is_null()) {
        step.engine_keys.push_back(step.kind);
        reader.json(step.kind);
      }
      step.pointer = reader.pointer();
      check(*kind, reader);
    }
    step.config = StepConfig(name, spec_.document, step.pointer, step.engine_keys, {}).json();
    spec_.steps.push_back(std::move(step));
  }

  static void check(const StepKind& kind, SpecReader& reader) {
    if (const auto checked = kind.check(reader); !checked) {
      reader.problem("", checked.error().message);
    }
    reader.close();
  }

  // The step's kind, "" after noting why there is none.
  std::string kind_of(const std::string& step, SpecReader& reader) {
    const auto names = kinds_.names();
    if (reader.has("kind")) {
      auto kind = reader.text("kind");
      if (kinds_.find(kind) != nullptr) return kind;
      reader.problem("kind", fmt::format("unknown kind '{}'{}", kind, suggestion(kind, names)));
      return "";
    }
    std::vector<std::string> found;
    for (const auto& key : reader.keys()) {
      if (kinds_.find(key) != nullptr) found.push_back(key);
    }
    if (found.size() == 1) return found[0];
    if (found.size() > 1) {
      reader.problem("", fmt::format("step '{}' names several kinds ({}): say which with `kind:`",
                                     step, fmt::join(found, ", ")));
      return "";
    }
    static const std::vector<std::string> kEngineKeys = {"needs",   "retries", "retry_delay",
                                                         "timeout", "cache",   "kind"};
    for (const auto& key : reader.keys()) {
      if (std::find(kEngineKeys.begin(), kEngineKeys.end(), key) != kEngineKeys.end()) continue;
      if (const auto meant = nearest(key, names)) {
        reader.problem(key, fmt::format("unknown kind '{}'; did you mean '{}'?", key, *meant));
        return "";
      }
    }
    reader.problem("", fmt::format("step '{}' does not say what it does: give it one of {}", step,
                                   fmt::join(names, ", ")));
    return "";
  }

  // References to steps become needs; those to the environment are only allowed where the kind says
  // so.
  void read_references() {
    std::vector<std::string> names;
    for (const auto& step : spec_.steps) names.push_back(step.name);
    for (auto& step : spec_.steps) {
      const std::string needs_pointer = json_pointer("/steps", step.name) + "/needs";
      for (const auto& need : step.needs) {
        if (spec_.find(need) == nullptr) {
          problem(needs_pointer, fmt::format("step '{}' needs '{}', which is no step{}", step.name,
                                             need, suggestion(need, names)));
        }
      }
      const Lookup lookup = [&](const Reference& reference,
                                const std::string& pointer) -> Result<std::optional<Json>> {
        if (reference.root == Reference::Root::env) return environment(step, reference, pointer);
        if (reference.root == Reference::Root::steps) return output(step, reference, names);
        return std::optional<Json>();
      };
      replace_references(step.config, step.pointer, Escapes::keep, lookup, note());
      std::sort(step.needs.begin(), step.needs.end());
      step.needs.erase(std::unique(step.needs.begin(), step.needs.end()), step.needs.end());
    }
  }

  Result<std::optional<Json>> environment(const StepSpec& step, const Reference& reference,
                                          const std::string& pointer) const {
    if (!kinds_.find(step.kind)->allows_environment(
            std::string_view(pointer).substr(step.pointer.size()))) {
      return invalid_argument(fmt::format(
          "{} cannot stand here: make it a parameter (`params: x: {}`), so that its value "
          "is recorded and decides the cache",
          reference.text, reference.text));
    }
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it
    if (std::getenv(reference.name.c_str()) == nullptr) {
      return failed_precondition(
          fmt::format("the environment variable {} is not set", reference.name));
    }
    return std::optional<Json>();
  }

  Result<std::optional<Json>> output(StepSpec& step, const Reference& reference,
                                     const std::vector<std::string>& names) const {
    const StepSpec* source = spec_.find(reference.name);
    if (source == nullptr) {
      return invalid_argument(fmt::format("unknown step '{}' in {}{}", reference.name,
                                          reference.text, suggestion(reference.name, names)));
    }
    const auto outputs = kinds_.find(source->kind)->outputs(source->config);
    const std::string path = fmt::format("{}", fmt::join(reference.path, "."));
    const auto leads_to = [&](const std::string& output) {
      return path == output || path.starts_with(output + ".");
    };
    if (outputs && std::none_of(outputs->begin(), outputs->end(), leads_to)) {
      return invalid_argument(fmt::format("step '{}' has no output '{}' (in {}){}", source->name,
                                          path, reference.text, suggestion(path, *outputs)));
    }
    step.needs.push_back(source->name);
    return std::optional<Json>();
  }

  // The order of work: each step after its needs, else as in the file. What cannot be ordered is in
  // a cycle.
  void connect() {
    std::map<std::string, std::size_t> index;
    for (std::size_t i = 0; i < spec_.steps.size(); ++i) index[spec_.steps[i].name] = i;
    std::vector<std::size_t> open(spec_.steps.size());
    std::vector<std::vector<std::size_t>> dependents(spec_.steps.size());
    std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
    for (std::size_t i = 0; i < spec_.steps.size(); ++i) {
      for (const auto& need : spec_.steps[i].needs) dependents[index[need]].push_back(i);
      open[i] = spec_.steps[i].needs.size();
      if (open[i] == 0) ready.push(i);
    }
    while (!ready.empty()) {
      const std::size_t next = ready.top();
      ready.pop();
      spec_.order.push_back(next);
      for (const std::size_t dependent : dependents[next]) {
        if (--open[dependent] == 0) ready.push(dependent);
      }
    }
    if (spec_.order.size() == spec_.steps.size()) return;

    // Every step left needs another one left; following them comes back to where it was.
    std::size_t at = 0;
    while (open[at] == 0) ++at;
    std::vector<std::size_t> path;
    while (std::find(path.begin(), path.end(), at) == path.end()) {
      path.push_back(at);
      const auto& needs = spec_.steps[at].needs;
      at = index[*std::find_if(needs.begin(), needs.end(),
                               [&](const auto& need) { return open[index[need]] > 0; })];
    }
    path.erase(path.begin(), std::find(path.begin(), path.end(), at));
    std::rotate(path.begin(), std::min_element(path.begin(), path.end()), path.end());
    std::string cycle;
    for (const std::size_t step : path) cycle += spec_.steps[step].name + " needs ";
    const auto& first = spec_.steps[path.front()].name;
    problem(json_pointer("/steps", first), "the steps wait for each other: " + cycle + first);
  }

  void check_single_writers() {
    std::map<std::string, const StepSpec*> writers;
    for (const auto& step : spec_.steps) {
      for (const auto& made : kinds_.find(step.kind)->produces(step.config)) {
        const auto [writer, fresh] = writers.emplace(made, &step);
        if (fresh || writer->second == &step) continue;
        problem(step.pointer,
                fmt::format(
                    "step '{}' writes {}, and so does step '{}' ({}): give one another name",
                    step.name, made, writer->second->name, raw_.place(writer->second->pointer)));
      }
    }
  }

  const StepKinds& kinds_;
  SpecDocument raw_;
  PipelineSpec spec_;
  std::vector<std::string> problems_;
};

}  // namespace

Result<PipelineSpec> PipelineSpec::load(const std::filesystem::path& file, const StepKinds& kinds,
                                        const std::map<std::string, std::string>& overrides) {
  auto text = read_file(file);
  if (!text) return text.error();
  std::error_code error;
  const auto absolute = std::filesystem::absolute(file, error).lexically_normal();
  auto spec = parse(*text, file.string(), absolute.parent_path(), kinds, overrides);
  if (spec) spec->file = absolute;
  return spec;
}

Result<PipelineSpec> PipelineSpec::parse(std::string_view text, const std::string& name,
                                         const std::filesystem::path& folder,
                                         const StepKinds& kinds,
                                         const std::map<std::string, std::string>& overrides) {
  auto document = SpecDocument::parse(text, name);
  if (!document) return document.error();
  if (!document->root().is_object()) {
    return invalid_argument(name + ": a pipeline file is a mapping with `name` and `steps`");
  }
  auto spec = SpecParser(kinds, std::move(*document), folder).parse(overrides);
  if (spec) spec->digest = sha256_hex(text);
  return spec;
}

const StepSpec* PipelineSpec::find(std::string_view step) const {
  for (const auto& candidate : steps) {
    if (candidate.name == step) return &candidate;
  }
  return nullptr;
}

Json PipelineSpec::param_values() const {
  Json values = Json::object();
  for (const auto& param : params) values[param.name] = param.value;
  return values;
}

}  // namespace slipway::pipeline
