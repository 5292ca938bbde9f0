// A step kind: what one word under `steps:` in a pipeline file does ("ingest", "train", "command").
// The engine decides whether and when a step runs; a kind checks its declaration, names what else
// decides the result, and does the work. Kinds are objects without state of a run; they are given
// to the engine in a StepKinds, by whoever wires the program.
//   class CountRows final : public StepKind {
//     std::string_view name() const override { return "count_rows"; }
//     Result<void> check(SpecReader& config) const override { config.text("file"); return {}; }
//     std::optional<std::vector<std::string>> outputs(const Json&) const override { return
//     {{"rows"}}; } Result<Json> fingerprint(const Context&, const StepInputs& in) const override {
//     // the file's bytes, not its name
//       auto digest = in.files.of(in.config.path("file"));
//       if (!digest) return digest.error();
//       return Json{{"file", *digest}};
//     }
//     Result<StepResult> run(const Context& ctx, const StepCall& call) const override { … }
//   };
// Thread-safe: every method may be called from several threads at once.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"

namespace slipway::pipeline {

// One step's declaration with its references replaced: ${params.x} before check(), ${steps.x.y}
// before fingerprint() and run().
class StepConfig {
 public:
  // engine_keys are keys of the same mapping that belong to the engine ("needs", "retries" …).
  StepConfig(std::string step, std::shared_ptr<const SpecDocument> document, std::string pointer,
             std::vector<std::string> engine_keys, std::filesystem::path folder);

  const std::string& step() const { return step_; }
  const Json& json() const { return json_; }  // the kind's own keys
  // The same as check() was given: read it with the same code. Ends with finish().
  SpecReader reader() const;
  // Where a key stands in the file: "pipeline.yaml:12:5".
  std::string place(std::string_view key = "") const;
  // Paths in a declaration are relative to the pipeline file's folder.
  std::filesystem::path resolve(std::string_view path) const;
  // resolve() of the text at a key; the folder itself when there is none.
  std::filesystem::path path(std::string_view key) const;
  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::string step_;
  std::shared_ptr<const SpecDocument> document_;
  std::string pointer_;
  std::vector<std::string> engine_keys_;
  std::filesystem::path folder_;
  Json json_;
};

// Digests of files by content, remembered between runs while size, inode and times stay the same.
class FileDigests {
 public:
  virtual ~FileDigests() = default;
  // A file: SHA-256 of its bytes. A folder: SHA-256 over the names and digests of the files in it.
  // not_found names the path.
  virtual Result<std::string> of(const std::filesystem::path& path) = 0;
};

// Where a step tells what it does; each line goes to the step's log file.
class StepLog {
 public:
  virtual ~StepLog() = default;
  virtual void line(std::string_view text) = 0;
  virtual std::filesystem::path file() const = 0;  // exists
};

// What a step's result follows from, beside its kind.
struct StepInputs {
  const StepConfig& config;
  const Json& params;    // of the pipeline, typed
  const Json& upstream;  // {"ingest": {outputs…}, …}: of every step this one depends on
  std::uint64_t seed;    // of this step; the same in every run of the same file
  FileDigests& files;
};

struct StepCall : StepInputs {
  std::string run_id;
  std::string pipeline;
  std::string key;                 // of the cache: the same whenever the same work is asked for
  int attempt = 1;                 // from 1
  std::filesystem::path work_dir;  // an empty folder of this attempt; gone afterwards
  std::map<std::string, std::string> environment;  // RunOptions::environment
  StepLog& log;
  std::function<void(double fraction, std::string_view what)>
      progress;  // fraction of the step, 0 to 1; never empty
};

// Bytes in the blob store that a step made. A cached step is run again when one of them is gone.
struct Artifact {
  std::string name;
  std::string sha256;  // of the bytes, or of the manifest of a folder
  std::int64_t size = 0;
  bool folder = false;
};

struct StepResult {
  Json outputs = Json::object();  // what other steps refer to; small, and the same whenever the
                                  // work was the same
  std::vector<Artifact> artifacts;
  std::string summary;  // one line for people: "336,776 rows, 43 columns"
  bool passed =
      true;  // false: it ran, and the answer is no (a gate); steps that depend on it are skipped
};

class StepKind {
 public:
  virtual ~StepKind() = default;
  virtual std::string_view name() const = 0;
  // Raise it when the same declaration gives another result than before: earlier results are not
  // used again.
  virtual int version() const { return 1; }

  // Reads every key of a declaration and notes problems in the reader; the engine closes it
  // (unknown keys). References to parameters are replaced; references to other steps still stand as
  // text.
  virtual Result<void> check(SpecReader& config) const = 0;
  // The names that others may use in ${steps.<this>.<name>}. Nothing: unknown before it ran.
  virtual std::optional<std::vector<std::string>> outputs(const Json& /*config*/) const {
    return std::nullopt;
  }
  // Names with one writer in a pipeline: "dataset flights", "model late". Two steps that name the
  // same are an error.
  virtual std::vector<std::string> produces(const Json& /*config*/) const { return {}; }
  // Whether ${env.X} may stand at this pointer of the declaration ("/env/TOKEN"). Its value is
  // neither stored nor part of the cache key.
  virtual bool allows_environment(std::string_view /*pointer*/) const { return false; }

  // Whether run() wants StepCall::work_dir; else it is empty.
  virtual bool uses_work_dir(const Json& /*config*/) const { return true; }

  // What else decides the result: digests of files, versions of data, of code. Enters the cache
  // key.
  virtual Result<Json> fingerprint(const Context& /*ctx*/, const StepInputs& /*in*/) const {
    return Json::object();
  }
  // Why an earlier result can no longer be used ("model version late/3 was deleted"); nothing when
  // it can.
  virtual Result<std::optional<std::string>> stale(const Context& /*ctx*/, const StepInputs& /*in*/,
                                                   const Json& /*outputs*/) const {
    return std::optional<std::string>{};
  }
  virtual Result<StepResult> run(const Context& ctx, const StepCall& call) const = 0;
};

class StepKinds {
 public:
  void add(std::unique_ptr<StepKind> kind) {
    std::string name(kind->name());
    kinds_[std::move(name)] = std::move(kind);
  }
  const StepKind* find(std::string_view name) const {
    const auto found = kinds_.find(name);
    return found == kinds_.end() ? nullptr : found->second.get();
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, kind] : kinds_) names.push_back(name);
    return names;
  }

 private:
  std::map<std::string, std::unique_ptr<StepKind>, std::less<>> kinds_;
};

}  // namespace slipway::pipeline
