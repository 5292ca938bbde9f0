#include "pipeline/command.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "pipeline/process_internal.h"

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): POSIX's
extern char** environ;

namespace slipway::pipeline {
namespace {

constexpr std::size_t kTailBytes = 2000;
constexpr std::size_t kTailLines = 5;
constexpr std::string_view kBlob = "blob:";  // "blob:<sha256>": an output that is a file
constexpr std::string_view kTree = "tree:";  // "tree:<sha256>": an output that is a folder

std::string variable(std::string_view prefix, std::string_view name) {
  std::string result(prefix);
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    result += letter ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : '_';
  }
  return result;
}

std::string as_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : canonical(value);
}

bool is_output_name(std::string_view name) {
  return !name.empty() && name[0] != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

struct Settings {
  std::string shell;
  std::vector<std::string> argv;
  std::map<std::string, std::string> inputs;  // by name: a path, or "blob:…", "tree:…"
  std::vector<std::string> outputs;
  std::map<std::string, std::string> environment;
  std::string workdir;
};

void read_command(SpecReader& reader, Settings& settings) {
  const Json command = reader.json("command");
  if (command.is_string() && !command.get_ref<const std::string&>().empty()) {
    settings.shell = command;
  } else if (command.is_array() && !command.empty() &&
             std::all_of(command.begin(), command.end(),
                         [](const Json& word) { return word.is_primitive(); })) {
    for (const auto& word : command) settings.argv.push_back(as_text(word));
  } else {
    reader.problem("command",
                   "`command` is a text for /bin/sh, or a list: the program and its arguments");
  }
}

void read_inputs(SpecReader& reader, Settings& settings) {
  const Json inputs = reader.json("inputs");
  if (inputs.is_null()) return;
  if (inputs.is_object()) {
    for (const auto& [name, path] : inputs.items()) {
      if (path.is_string()) {
        settings.inputs[name] = path;
      } else {
        reader.problem("inputs",
                       fmt::format("input '{}' must be a path or an output of a step", name));
      }
    }
    return;
  }
  for (const auto& path : reader.texts("inputs")) {
    settings.inputs[std::filesystem::path(path).filename().string()] = path;
  }
}

Settings read_settings(SpecReader& reader) {
  Settings settings;
  read_command(reader, settings);
  read_inputs(reader, settings);
  settings.outputs = reader.texts("outputs");
  std::set<std::string> variables;
  for (const auto& name : settings.outputs) {
    if (!is_output_name(name)) {
      reader.problem(
          "outputs",
          fmt::format("'{}' cannot name an output: use letters, digits, '.', '_' and '-'", name));
    }
    if (!variables.insert(variable("", name)).second) {
      reader.problem("outputs", fmt::format("two outputs would share the variable {}",
                                            variable("SLIPWAY_OUTPUT_", name)));
    }
  }
  const Json environment = reader.json("env");
  if (environment.is_object()) {
    for (const auto& [name, value] : environment.items()) {
      if (value.is_structured() || name.empty() || name.find('=') != std::string::npos) {
        reader.problem("env", fmt::format("'{}' must be a variable with a text", name));
      } else {
        settings.environment[name] = as_text(value);
      }
    }
  } else if (!environment.is_null()) {
    reader.problem("env", "`env` is a mapping of variables to texts");
  }
  settings.workdir = reader.text("workdir", "");
  return settings;
}

// Programs and scripts of the working folder that the command names: `python train.py` depends on
// train.py. Other files may be what it writes, so they only count as `inputs`.
bool is_code(const std::string& word) {
  static const std::set<std::string> kExtensions = {".py",  ".sh", ".r",  ".R",  ".jl",
                                                    ".sql", ".js", ".rb", ".pl", ".ipynb"};
  return kExtensions.contains(std::filesystem::path(word).extension().string());
}

std::vector<std::string> files_named_in(const Settings& settings,
                                        const std::filesystem::path& workdir) {
  std::vector<std::string> words = settings.argv;
  std::string word;
  for (const char c : settings.shell + " ") {
    if (std::string_view(" \t\n;&|()<>'\"").find(c) == std::string_view::npos) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  std::vector<std::string> files;
  for (const auto& candidate : words) {
    std::error_code error;
    if (candidate.starts_with("/") || candidate.size() > 1000 ||
        (&candidate != &words.front() && !is_code(candidate)))
      continue;
    if (std::filesystem::is_regular_file(workdir / candidate, error)) files.push_back(candidate);
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

bool is_stored(std::string_view value) {
  return value.starts_with(kBlob) || value.starts_with(kTree);
}

// The last lines of what was written to a log after `from`.
std::string tail_of(const std::filesystem::path& file, std::uintmax_t from) {
  std::ifstream stream(file, std::ios::binary);
  stream.seekg(0, std::ios::end);
  const auto end = static_cast<std::uintmax_t>(std::max<std::streamoff>(stream.tellg(), 0));
  const auto begin = std::max(from, end > kTailBytes ? end - kTailBytes : 0);
  if (begin >= end) return "";
  stream.seekg(static_cast<std::streamoff>(begin));
  std::string text(end - begin, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::size_t at = text.size();
  for (std::size_t lines = 0; lines < kTailLines && at != std::string::npos; ++lines) {
    at = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
  }
  return at == std::string::npos ? text : text.substr(at + 1);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

class CommandKind final : public StepKind {
 public:
  CommandKind(blob::Store& blobs, CommandOptions options) : blobs_(blobs), options_(options) {}

  std::string_view name() const override { return "command"; }

  Result<void> check(SpecReader& config) const override {
    read_settings(config);
    return {};
  }

  std::optional<std::vector<std::string>> outputs(const Json& config) const override {
    std::vector<std::string> names;
    const auto declared = config.find("outputs");
    if (declared == config.end()) return names;
    if (declared->is_string()) return std::vector{declared->get<std::string>()};
    for (const auto& name : *declared) {
      if (name.is_string()) names.push_back(name);
    }
    return names;
  }

  bool allows_environment(std::string_view pointer) const override {
    return pointer.starts_with("/env/");
  }

  bool uses_work_dir(const Json& config) const override {
    return config.contains("inputs") || config.contains("outputs");
  }

  Result<Json> fingerprint(const Context& ctx, const StepInputs& in) const override {
    SpecReader reader = in.config.reader();
    const Settings settings = read_settings(reader);
    Json files = Json::object();
    for (const auto& [input, path] : settings.inputs) {
      if (const auto wanted = ctx.check(); !wanted) return wanted.error();
      if (is_stored(path)) continue;  // the configuration holds its digest
      auto digest = in.files.of(in.config.resolve(path));
      if (!digest) return digest.error().at(fmt::format("input '{}'", input));
      files[path] = *digest;
    }
    const auto workdir = in.config.resolve(settings.workdir);
    for (const auto& path : files_named_in(settings, workdir)) {
      auto digest = in.files.of(workdir / path);
      if (!digest) return digest.error();
      files[path] = *digest;
    }
    return files.empty() ? Json::object() : Json{{"files", files}};
  }

  Result<StepResult> run(const Context& ctx, const StepCall& call) const override {
    SpecReader reader = call.config.reader();
    const Settings settings = read_settings(reader);
    if (const auto sound = reader.finish(); !sound) return sound.error();

    const auto output_folder = call.work_dir / "out";
    if (!settings.outputs.empty()) {
      if (const auto made = make_dirs(output_folder); !made) return made.error();
    }
    auto environment = environment_of(settings, call, output_folder);
    if (!environment) return environment.error();

    const auto log_file = call.log.file();
    std::error_code error;
    const auto log_start = std::filesystem::file_size(log_file, error);
    const Descriptor log(::open(log_file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (log.get() < 0) return errno_error(errno, "cannot open the log", log_file);

    ProcessSpec process;
    process.shell = settings.shell;
    process.argv = settings.argv;
    process.environment = std::move(*environment);
    process.workdir = call.config.resolve(settings.workdir);
    process.output_fd = log.get();
    const auto ended = run_process(ctx, process, options_.grace, guardian_);
    if (!ended) return ended.error();
    if (ended->signal != 0 || ended->exit_code != 0) {
      const auto tail = tail_of(log_file, error ? 0 : log_start);
      return failed_precondition(
          (ended->signal != 0
               ? fmt::format("the command was killed by signal {}", ended->signal)
               : fmt::format("the command ended with exit code {}", ended->exit_code)) +
          (tail.empty() ? " and wrote nothing" : "; its last lines:\n" + tail));
    }
    return collect(settings, output_folder);
  }

 private:
  Result<std::vector<std::string>> environment_of(
      const Settings& settings, const StepCall& call,
      const std::filesystem::path& output_folder) const {
    std::map<std::string, std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string_view text(*entry);
      const auto equals = text.find('=');
      if (equals == std::string_view::npos || text.starts_with("SLIPWAY_FAULT=")) continue;
      variables.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    for (const auto& [name, value] : call.environment) variables[name] = value;
    variables["SLIPWAY_STEP"] = call.config.step();
    variables["SLIPWAY_PIPELINE"] = call.pipeline;
    variables["SLIPWAY_RUN_ID"] = call.run_id;
    variables["SLIPWAY_SEED"] = std::to_string(call.seed);
    for (const auto& [name, value] : call.params.items()) {
      variables[variable("SLIPWAY_PARAM_", name)] = as_text(value);
    }
    for (const auto& [name, value] : settings.inputs) {
      auto path = is_stored(value) ? materialise(value, call.work_dir / "in", name)
                                   : Result<std::filesystem::path>(call.config.resolve(value));
      if (!path) return path.error().at(fmt::format("input '{}'", name));
      variables[variable("SLIPWAY_INPUT_", name)] = path->string();
    }
    for (const auto& name : settings.outputs) {
      variables[variable("SLIPWAY_OUTPUT_", name)] = (output_folder / name).string();
    }
    for (const auto& [name, value] : settings.environment) variables[name] = value;

    std::vector<std::string> lines;
    for (const auto& [name, value] : variables) lines.push_back(name + "=" + value);
    return lines;
  }

  // A copy, so that no program can change what the store holds.
  Result<std::filesystem::path> materialise(std::string_view stored,
                                            const std::filesystem::path& folder,
                                            const std::string& name) const {
    if (const auto made = make_dirs(folder); !made) return made.error();
    const auto target = folder / name;
    const std::string digest(stored.substr(kBlob.size()));
    if (stored.starts_with(kTree)) {
      if (const auto got = blobs_.get_tree(digest, target); !got) return got.error();
      return target;
    }
    const auto source = blobs_.path_of(digest);
    if (!source) return source.error();
    std::error_code error;
    std::filesystem::copy_file(*source, target, error);
    if (error) return errno_error(error.value(), "cannot copy an input to", target);
    const auto copied = sha256_file_hex(target);
    if (!copied) return copied.error();
    if (*copied != digest)
      return data_loss(fmt::format("blob {} does not hold the bytes of its name", digest));
    return target;
  }

  Result<StepResult> collect(const Settings& settings, const std::filesystem::path& folder) const {
    StepResult result;
    for (const auto& name : settings.outputs) {
      const auto path = folder / name;
      std::error_code error;
      const auto status = std::filesystem::symlink_status(path, error);
      const bool is_folder = std::filesystem::is_directory(status);
      if (!is_folder && !std::filesystem::is_regular_file(status)) {
        return failed_precondition(
            fmt::format("the command ended well, but did not write its output '{}': it belongs at "
                        "the path in ${}",
                        name, variable("SLIPWAY_OUTPUT_", name)));
      }
      const auto stored = is_folder ? blobs_.put_tree(path) : blobs_.put_file_moving(path);
      if (!stored) return stored.error().at(fmt::format("output '{}'", name));
      result.outputs[name] = std::string(is_folder ? kTree : kBlob) + stored->sha256;
      result.artifacts.push_back({name, stored->sha256, stored->size, is_folder});
    }
    if (!settings.outputs.empty()) {
      result.summary = fmt::format("{} output{}", settings.outputs.size(),
                                   settings.outputs.size() == 1 ? "" : "s");
    }
    return result;
  }

  blob::Store& blobs_;
  CommandOptions options_;
  mutable Guardian guardian_;
};

}  // namespace

std::unique_ptr<StepKind> make_command_kind(blob::Store& blobs, const CommandOptions& options) {
  return std::make_unique<CommandKind>(blobs, options);
}

}  // namespace slipway::pipeline
