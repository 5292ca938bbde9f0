#include <limits>
#include <unordered_map>

#include "base/hash.h"
#include "base/json.h"
#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

Result<std::string> choose_name(const RunSpec& spec, const std::string& id) {
  const auto tag = spec.tags.find(std::string(kRunNameTag));
  if (tag != spec.tags.end() && !spec.name.empty() && tag->second != spec.name) {
    return invalid_argument(fmt::format(
        "Both 'run_name' argument and '{}' tag are specified, but with different values "
        "(run_name='{}', {}='{}')",
        kRunNameTag, spec.name, kRunNameTag, tag->second));
  }
  if (!spec.name.empty()) return spec.name;
  if (tag != spec.tags.end() && !tag->second.empty()) return tag->second;
  return name_from_id(id);
}

// Of an experiment that takes runs.
Result<std::string> find_artifact_folder(db::Connection& connection, ExperimentId id) {
  auto rows = connection.query(sql::find_experiment, id.value);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (auto status = rows->status(); !status) return status.error();
    return not_found(fmt::format("No Experiment with id={} exists", id.value));
  }
  if (!rows->is_null(5)) {
    return failed_precondition(fmt::format(
        "The experiment {} must be in the 'active' state. Current state is deleted: restore it "
        "first",
        id.value));
  }
  return rows->text(2);
}

}  // namespace

std::string name_from_id(const std::string& id) {
  static constexpr std::array<std::string_view, 32> kHow = {
      "able",   "bold",  "brave", "bright", "brisk",  "calm",   "clear", "crisp",
      "deep",   "eager", "fair",  "fleet",  "fresh",  "gentle", "grand", "hardy",
      "keen",   "light", "lucky", "merry",  "mighty", "neat",   "proud", "quick",
      "silent", "sleek", "sound", "steady", "swift",  "trim",   "true",  "wide"};
  static constexpr std::array<std::string_view, 32> kWhat = {
      "anchor", "barque",  "beacon", "bosun",    "bow",    "buoy",    "capstan", "clipper",
      "cutter", "dolphin", "ferry",  "fjord",    "galley", "gull",    "harbor",  "heron",
      "hull",   "jetty",   "keel",   "ketch",    "lagoon", "lantern", "mast",    "osprey",
      "petrel", "pilot",   "rudder", "schooner", "sloop",  "tern",    "tide",    "yawl"};
  const std::uint64_t hash = hash64(id);
  return fmt::format("{}-{}-{}", kHow[hash % 32], kWhat[hash / 32 % 32], hash / 1024 % 1000);
}

Result<void> check_key(std::string_view what, std::string_view key, std::size_t most) {
  if (key.empty()) return invalid_argument(fmt::format("the {} key is empty", what));
  if (characters(key) > most) {
    return invalid_argument(fmt::format("{} key '{}…' has {} characters, at most {}", what,
                                        cut(key, 40), characters(key), most));
  }
  for (const char c : key) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      std::string_view("_-./: ").find(c) != std::string_view::npos ||
                      static_cast<unsigned char>(c) >= 0x80;
    if (!fine) {
      return invalid_argument(fmt::format(
          "Invalid {} key '{}': it may hold letters, digits, underscores (_), dashes (-), periods "
          "(.), colons (:), slashes (/) and spaces",
          what, key));
    }
  }
  // Keys become file names in other stores: only those that read as a normal relative path.
  std::string_view rest = key;
  while (true) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") {
      return invalid_argument(fmt::format(
          "Invalid {} key '{}': the parts between slashes must not be empty, '.' or '..'", what,
          key));
    }
    if (slash == std::string_view::npos) return {};
    rest.remove_prefix(slash + 1);
  }
}

std::size_t characters(std::string_view utf8) {
  return static_cast<std::size_t>(std::ranges::count_if(
      utf8, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string cut(std::string_view utf8, std::size_t most) {
  if (utf8.size() <= most) return std::string(utf8);
  std::size_t seen = 0;
  for (std::size_t at = 0; at < utf8.size(); ++at) {
    const bool starts = (static_cast<unsigned char>(utf8[at]) & 0xC0) != 0x80;
    if (starts && seen++ == most) return std::string(utf8.substr(0, at));
  }
  return std::string(utf8);
}

std::string json_list(std::span<const std::int64_t> numbers) {
  return fmt::format("[{}]", fmt::join(numbers, ","));
}

double storable(double value) {
  if (std::isnan(value)) return 0;
  constexpr double kMost = std::numeric_limits<double>::max();
  return std::clamp(value, -kMost, kMost);
}

Result<RunRow> find_run(db::Connection& connection, const RunId& id) {
  auto rows = connection.query(sql::find_run, id.value);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (auto status = rows->status(); !status) return status.error();
    return not_found(fmt::format("Run with id={} not found", cut(id.value, 100)));
  }
  return RunRow{rows->integer(0), ExperimentId{rows->integer(1)}, !rows->is_null(2), rows->text(3)};
}

Result<RunRow> find_active_run(db::Connection& connection, const RunId& id) {
  auto row = find_run(connection, id);
  if (row && row->deleted) {
    return failed_precondition(fmt::format(
        "The run {} must be in the 'active' state. Current state is deleted: restore it first",
        id.value));
  }
  return row;
}

Result<std::vector<Run>> load_runs(db::Connection& connection, std::span<const std::int64_t> seqs) {
  std::vector<Run> runs(seqs.size());
  if (seqs.empty()) return runs;
  std::unordered_map<std::int64_t, Run*> by_seq;
  for (std::size_t i = 0; i < seqs.size(); ++i) by_seq[seqs[i]] = &runs[i];
  const std::string list = json_list(seqs);

  // Walks one query whose first column is the run.
  const auto each = [&](std::string_view statement, auto&& take) -> Result<void> {
    auto rows = connection.query(statement, list);
    if (!rows) return rows.error();
    while (rows->next()) take(*by_seq.at(rows->integer(0)), *rows);
    return rows->status();
  };
  auto loaded = each(sql::runs_by_seq, [](Run& run, const db::Rows& row) {
    run.id = RunId{row.text(1)};
    run.experiment = ExperimentId{row.integer(2)};
    run.name = row.text(3);
    run.user = row.text(4);
    run.status = parse_run_status(row.view(5)).value_or(RunStatus::running);
    run.start_ms = row.integer(6);
    run.end_ms = row.maybe_integer(7);
    run.deleted = !row.is_null(8);
    run.artifact_uri = row.text(9);
  });
  if (!loaded) return loaded.error();
  loaded = each(sql::latest_metrics_by_seq, [](Run& run, const db::Rows& row) {
    run.metrics.push_back({.key = row.text(1),
                           .value = from_storage(row.real(2), row.integer(3) != 0),
                           .timestamp_ms = row.integer(5),
                           .step = row.integer(4)});
  });
  if (!loaded) return loaded.error();
  loaded = each(sql::params_by_seq, [](Run& run, const db::Rows& row) {
    run.params.push_back({.key = row.text(1), .value = row.text(2)});
  });
  if (!loaded) return loaded.error();
  loaded = each(sql::tags_by_seq, [](Run& run, const db::Rows& row) {
    run.tags.emplace_hint(run.tags.end(), row.text(1), row.text(2));
  });
  if (!loaded) return loaded.error();
  loaded = each(sql::inputs_by_seq, [](Run& run, const db::Rows& row) {
    DatasetInput input{.name = row.text(1),
                       .digest = row.text(2),
                       .source_type = row.text(3),
                       .source = row.text(4),
                       .schema = row.text(5),
                       .profile = row.text(6)};
    const Json tags = Json::parse(row.view(7), nullptr, false);
    if (tags.is_object()) {
      for (const auto& [key, value] : tags.items()) {
        if (value.is_string()) input.tags[key] = value.get<std::string>();
      }
    }
    run.datasets.push_back(std::move(input));
  });
  if (!loaded) return loaded.error();
  loaded = each(sql::models_by_seq, [](Run& run, const db::Rows& row) {
    auto& links = row.view(1) == "input" ? run.model_inputs : run.model_outputs;
    links.push_back({.model_id = row.text(2), .step = row.integer(3)});
  });
  if (!loaded) return loaded.error();
  return runs;
}

Result<Run> Tracking::create_run(const Context& ctx, const RunSpec& spec) {
  const std::string id = impl_->ids.next();
  const auto name = choose_name(spec, id);
  if (!name) return name.error();
  const std::int64_t start_ms = spec.start_ms.value_or(impl_->now_ms());
  const std::string user = spec.user.empty() ? ctx.principal.name : spec.user;
  return impl_->db.write([&](db::Transaction& tx) -> Result<Run> {
    const auto folder = find_artifact_folder(tx, spec.experiment);
    if (!folder) return folder.error();
    Run run{.id = RunId{id},
            .experiment = spec.experiment,
            .name = *name,
            .user = user,
            .start_ms = start_ms,
            .artifact_uri = fmt::format("{}/{}/artifacts", *folder, id)};
    auto inserted = tx.run(sql::insert_run, id, run.experiment.value, run.name, run.user,
                           to_string(run.status), run.start_ms, run.artifact_uri);
    if (!inserted) return inserted.error();
    const std::int64_t seq = tx.last_row_id();
    run.tags = spec.tags;
    run.tags[std::string(kRunNameTag)] = run.name;
    for (auto& [key, value] : run.tags) {
      value = cut(value, impl_->limits.tag_characters);
      if (auto set = write_tag(tx, impl_->limits, seq, key, value); !set) return set.error();
    }
    return run;
  });
}

Result<Run> Tracking::run(const RunId& id) const {
  return impl_->db.read([&](db::Connection& c) -> Result<Run> {
    const auto row = find_run(c, id);
    if (!row) return row.error();
    auto runs = load_runs(c, {&row->seq, 1});
    if (!runs) return runs.error();
    return std::move(runs->front());
  });
}

Result<Run> Tracking::update_run(const RunId& id, const RunUpdate& update) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<Run> {
    const auto row = find_active_run(tx, id);
    if (!row) return row.error();
    std::optional<std::string_view> status;
    if (update.status) status = to_string(*update.status);
    auto updated = tx.run(sql::update_run, row->seq, status, update.end_ms, update.name);
    if (!updated) return updated.error();
    if (update.name) {
      auto set = write_tag(tx, impl_->limits, row->seq, std::string(kRunNameTag), *update.name);
      if (!set) return set.error();
    }
    auto runs = load_runs(tx, {&row->seq, 1});
    if (!runs) return runs.error();
    return std::move(runs->front());
  });
}

Result<Run> Tracking::end_run(const RunId& id, RunStatus status) {
  return update_run(id, {.status = status, .end_ms = impl_->now_ms()});
}

Result<void> Tracking::delete_run(const RunId& id) {
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = find_active_run(tx, id);
    if (!row) return row.error();
    return tx.run(sql::set_run_deleted, row->seq, now);
  });
}

Result<void> Tracking::restore_run(const RunId& id) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = find_run(tx, id);
    if (!row) return row.error();
    if (!row->deleted) {
      return failed_precondition(fmt::format(
          "The run {} must be in the 'deleted' state. Current state is active", id.value));
    }
    return tx.run(sql::set_run_deleted, row->seq, nullptr);
  });
}

}  // namespace slipway::tracking
