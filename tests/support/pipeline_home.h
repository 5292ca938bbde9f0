// A home folder with everything that a pipeline engine needs, and a step kind whose doings a test
// can see.
#pragma once
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <sstream>

#include "audit/audit.h"
#include "pipeline/command.h"
#include "pipeline/engine.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::test {

inline std::string slurp(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// `probe: {…}`: appends "<step>\n" to the file `log` when it starts and then does as told.
class ProbeKind final : public pipeline::StepKind {
 public:
  std::string_view name() const override { return "probe"; }
  Result<void> check(SpecReader& config) const override {
    config.text("log", "");
    config.json("value");
    config.text("file", "");
    config.boolean("says_no", false);
    config.boolean("kills", false);
    config.boolean("waits", false);
    config.text("fails", "");
    config.json("with");
    return {};
  }
  bool uses_work_dir(const Json&) const override { return false; }
  Result<Json> fingerprint(const Context&, const pipeline::StepInputs& in) const override {
    const auto file = in.config.json().value("file", "");
    if (file.empty()) return Json::object();
    auto digest = in.files.of(in.config.resolve(file));
    if (!digest) return digest.error();
    return Json{{"file", *digest}};
  }
  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    const auto log = reader.text("log", "");
    const auto value = reader.json("value");
    reader.text("file", "");
    const bool says_no = reader.boolean("says_no", false);
    const bool kills = reader.boolean("kills", false);
    const bool waits = reader.boolean("waits", false);
    const auto fails = reader.text("fails", "");
    reader.json("with");
    if (const auto sound = reader.finish(); !sound) return sound.error();

    if (!log.empty())
      std::ofstream(call.config.resolve(log), std::ios::app) << call.config.step() << "\n"
                                                             << std::flush;
    ++starts;
    const AtOnce one(*this);
    if (kills && std::filesystem::exists(call.config.resolve("armed"))) ::kill(::getpid(), SIGKILL);
    if (waits) {
      while (true) {
        if (const auto wanted = ctx.check(); !wanted) return wanted.error();
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
      }
    }
    call.progress(0.5, "half");
    call.log.line("probe of " + call.config.step());
    if (fails == "always" || (fails == "first" && call.attempt == 1))
      return unavailable("told to fail");
    if (fails == "throws") throw std::runtime_error("thrown");
    pipeline::StepResult result;
    result.outputs = {{"value", value}, {"step", call.config.step()}};
    result.passed = !says_no;
    result.summary = "probed";
    return result;
  }
  mutable std::atomic<int> starts{0};
  mutable std::atomic<int> most_at_once{0};

 private:
  struct AtOnce {
    explicit AtOnce(const ProbeKind& its_kind) : kind(its_kind) {
      const int now = ++kind.at_once_;
      int most = kind.most_at_once;
      while (now > most && !kind.most_at_once.compare_exchange_weak(most, now)) {
      }
    }
    AtOnce(const AtOnce&) = delete;
    AtOnce& operator=(const AtOnce&) = delete;
    ~AtOnce() { --kind.at_once_; }
    const ProbeKind& kind;
  };
  mutable std::atomic<int> at_once_{0};
};

class PipelineHome {
 public:
  explicit PipelineHome(const std::filesystem::path& home, const Clock& clock,
                        bool durable = false) {
    opened = open(home, clock, durable);
  }
  Result<pipeline::PipelineSpec> parse(
      const std::string& text, const std::map<std::string, std::string>& params = {}) const {
    return pipeline::PipelineSpec::parse(text, "p.yaml", folder, kinds, params);
  }

  std::filesystem::path folder;  // where relative paths of pipelines start
  RandomIds ids;
  std::unique_ptr<db::Database> db;
  std::unique_ptr<blob::Store> blobs;
  std::unique_ptr<audit::Log> audit;
  pipeline::StepKinds kinds;
  const ProbeKind* probe = nullptr;
  std::unique_ptr<pipeline::Engine> engine;
  Result<void> opened;

 private:
  Result<void> open(const std::filesystem::path& home, const Clock& clock, bool durable) {
    folder = home / "work";
    if (auto made = make_dirs(folder); !made) return made;
    auto database =
        db::Database::open(test::database_at(home / "slipway.db"), {.durable = durable});
    if (!database) return database.error();
    db = std::move(*database);
    auto store = blob::Store::open(home / "blobs");
    if (!store) return store.error();
    blobs = std::move(*store);
    auto log = audit::Log::open(*db, home / "keys", clock);
    if (!log) return log.error();
    audit = std::move(*log);
    auto made_probe = std::make_unique<ProbeKind>();
    probe = made_probe.get();
    kinds.add(std::move(made_probe));
    kinds.add(pipeline::make_command_kind(*blobs, {.grace = std::chrono::milliseconds{200}}));
    auto made = pipeline::Engine::open({*db, *blobs, *audit, clock, ids, home}, kinds);
    if (!made) return made.error();
    engine = std::move(*made);
    return {};
  }
};

// States by step, as text: {"a": "succeeded", …}.
inline std::map<std::string, std::string> states_of(const pipeline::RunReport& run) {
  std::map<std::string, std::string> states;
  for (const auto& step : run.steps) states[step.name] = to_string(step.state);
  return states;
}

inline const pipeline::StepReport& step_of(const pipeline::RunReport& run, std::string_view name) {
  for (const auto& step : run.steps) {
    if (step.name == name) return step;
  }
  throw std::out_of_range("no step " + std::string(name));
}

}  // namespace slipway::test
