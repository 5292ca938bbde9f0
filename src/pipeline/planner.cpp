#include "pipeline/planner_internal.h"

#include "base/hash.h"
#include "base/rng.h"
#include "pipeline/params_internal.h"
#include "pipeline/references_internal.h"

namespace slipway::pipeline {
namespace {

constexpr std::size_t kShownChars = 40;
constexpr std::size_t kShownChanges = 6;
// Raise it when the meaning of the key's parts changes: every earlier result is then set aside.
constexpr int kKeyVersion = 1;

bool is_digest(std::string_view text) {
  if (text.starts_with("blob:") || text.starts_with("tree:")) text.remove_prefix(5);
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void note_changes(const Json& before, const Json& after, const std::string& path,
                  std::vector<std::string>& changes) {
  if (before == after) return;
  if (before.is_object() && after.is_object()) {
    std::set<std::string> keys;
    for (const auto& [key, value] : before.items()) keys.insert(key);
    for (const auto& [key, value] : after.items()) keys.insert(key);
    for (const auto& key : keys) {
      const std::string field = path.empty() ? key : path + "." + key;
      if (!before.contains(key)) {
        changes.push_back(field + " added");
      } else if (!after.contains(key)) {
        changes.push_back(field + " removed");
      } else {
        note_changes(before[key], after[key], field, changes);
      }
    }
    return;
  }
  const auto long_or_digest = [](const Json& value) {
    return value.is_structured() ||
           (value.is_string() &&
            (is_digest(value.get_ref<const std::string&>()) || value.dump().size() > kShownChars));
  };
  if (long_or_digest(before) || long_or_digest(after)) {
    changes.push_back(path + " changed");
  } else {
    changes.push_back(fmt::format("{}: {} -> {}", path, before.dump(), after.dump()));
  }
}

std::string short_id(std::string_view id) { return std::string(id.substr(0, 8)); }

}  // namespace

std::string explain(const Json& before, const Json& after) {
  std::vector<std::string> changes;
  for (const auto& [part, value] : after.items()) {
    const Json earlier = before.value(part, Json());
    if (part == "upstream" && earlier.is_object()) {
      for (const auto& [step, digest] : value.items()) {
        if (!earlier.contains(step)) {
          changes.push_back("now needs " + step);
        } else if (earlier[step] != digest) {
          changes.push_back("outputs of " + step + " changed");
        }
      }
      for (const auto& [step, digest] : earlier.items()) {
        if (!value.contains(step)) changes.push_back("no longer needs " + step);
      }
    } else if (part == "fingerprint") {
      note_changes(earlier, value, "", changes);
    } else {
      note_changes(earlier, value, part, changes);
    }
  }
  if (changes.size() > kShownChanges) {
    const auto more = changes.size() - kShownChanges;
    changes.resize(kShownChanges);
    changes.push_back(fmt::format("and {} more", more));
  }
  return fmt::format("{}", fmt::join(changes, "; "));
}

Result<Planner> Planner::open(const Context& ctx, const PipelineSpec& spec, const StepKinds& kinds,
                              const RunOptions& options, db::Database& db, const blob::Store& blobs,
                              FileDigests& files) {
  Planner planner(ctx, spec, kinds, options, db, blobs, files);
  planner.params_ = spec.param_values();
  if (!options.from_step.empty()) {
    if (spec.find(options.from_step) == nullptr) {
      std::vector<std::string> names;
      for (const auto& step : spec.steps) names.push_back(step.name);
      return invalid_argument(fmt::format("pipeline '{}' has no step '{}'{}", spec.name,
                                          options.from_step, suggestion(options.from_step, names)));
    }
    planner.rerun_.insert(options.from_step);
    for (const auto index : spec.order) {
      const auto& step = spec.steps[index];
      for (const auto& need : step.needs) {
        if (planner.rerun_.contains(need)) planner.rerun_.insert(step.name);
      }
    }
  }
  auto last = db.read(
      [&](db::Connection& connection) { return records::last_results(connection, spec.name); });
  if (!last) return last.error();
  planner.last_ = std::move(*last);
  return planner;
}

std::optional<std::string> Planner::forced(const StepSpec& step) const {
  if (!options_.use_cache) return "asked to run everything again";
  if (rerun_.contains(step.name))
    return fmt::format("asked to run again from '{}'", options_.from_step);
  if (!step.cache) return "declared `cache: false`";
  return std::nullopt;
}

std::uint64_t Planner::seed_of(const StepSpec& step) const {
  return Rng(spec_.seed).child(step.name).seed();
}

Result<Json> Planner::replace_steps(const StepSpec& step,
                                    const std::map<std::string, Json>& outputs,
                                    bool environment) const {
  std::optional<Error> failed;
  const Lookup lookup = [&](const Reference& reference,
                            const std::string&) -> Result<std::optional<Json>> {
    if (reference.root == Reference::Root::env) {
      if (!environment)
        return std::optional<Json>(reference.text);  // by name: the value is nobody's business
      const char* value =
          std::getenv(reference.name.c_str());  // NOLINT(concurrency-mt-unsafe): nobody sets it
      if (value == nullptr) {
        return failed_precondition(
            fmt::format("the environment variable {} is not set", reference.name));
      }
      return std::optional<Json>(std::string(value));
    }
    const Json& source = outputs.at(reference.name);
    const Json* value = follow_path(source, reference.path);
    if (value == nullptr) {
      std::vector<std::string> names;
      for (const auto& [name, output] : source.items()) names.push_back(name);
      const std::string path = fmt::format("{}", fmt::join(reference.path, "."));
      return invalid_argument(fmt::format("step '{}' gave no output '{}' (in {}){}", reference.name,
                                          path, reference.text, suggestion(path, names)));
    }
    return std::optional<Json>(*value);
  };
  Json config = replace_references(step.config, step.pointer, Escapes::resolve, lookup,
                                   [&](const std::string& pointer, const Error& error) {
                                     if (!failed) failed = error.at(spec_.document->place(pointer));
                                   });
  if (failed) return *failed;
  return config;
}

Result<Decision> Planner::decide(const StepSpec& step,
                                 const std::map<std::string, Json>& outputs) const {
  const StepKind& kind = *kinds_.find(step.kind);
  auto recorded = replace_steps(step, outputs, false);
  if (!recorded) return recorded.error();
  auto actual = replace_steps(step, outputs, true);
  if (!actual) return actual.error();
  Decision decision{
      .config = StepConfig(step.name,
                           std::make_shared<const SpecDocument>(
                               spec_.document->with_value(step.pointer, std::move(*actual))),
                           step.pointer, step.engine_keys, spec_.folder),
      .upstream = Json::object(),
      .inputs = Json::object(),
      .key = "",
      .hit = std::nullopt,
      .why = ""};
  Json digests = Json::object();
  for (const auto& need : step.needs) {
    const Json& output = outputs.at(need);
    decision.upstream[need] = output;
    digests[need] = sha256_hex(canonical(output));
  }
  const StepInputs in{decision.config, params_, decision.upstream, seed_of(step), files_};
  auto fingerprint = kind.fingerprint(ctx_, in);
  if (!fingerprint) return fingerprint.error().at(decision.config.place());
  decision.inputs = {{"version", kKeyVersion},      {"step", step.name},
                     {"kind", step.kind},           {"kind_version", kind.version()},
                     {"config", *recorded},         {"upstream", std::move(digests)},
                     {"fingerprint", *fingerprint}, {"seed", spec_.seed}};
  decision.key = sha256_hex(canonical(decision.inputs));
  if (auto reason = forced(step)) {
    decision.why = std::move(*reason);
    return decision;
  }
  if (const auto looked = look_up(step, in, decision); !looked) return looked.error();
  return decision;
}

Result<void> Planner::look_up(const StepSpec& step, const StepInputs& in,
                              Decision& decision) const {
  const auto last = last_.find(step.name);
  std::optional<records::StepRecord> found;
  if (last != last_.end() && last->second.key == decision.key) {
    found = last->second;
  } else {
    auto stored = db_.read(
        [&](db::Connection& connection) { return records::find_result(connection, decision.key); });
    if (!stored) return stored.error();
    found = std::move(*stored);
  }
  if (!found) {
    decision.why = last == last_.end() ? "it has no earlier result"
                                       : explain(last->second.inputs, decision.inputs);
    return {};
  }
  for (const auto& artifact : found->artifacts) {
    if (blobs_.has(artifact.sha256)) continue;
    decision.why =
        fmt::format("its output '{}' (blob {}) is gone", artifact.name, short_id(artifact.sha256));
    return {};
  }
  const auto stale = kinds_.find(step.kind)->stale(ctx_, in, found->outputs);
  if (!stale) return stale.error().at(decision.config.place());
  if (*stale) {
    decision.why = **stale;
    return {};
  }
  decision.why = fmt::format("nothing changed since run {} ({})", short_id(found->run_id),
                             format_time(found->created));
  decision.hit = std::move(found);
  return {};
}

}  // namespace slipway::pipeline
