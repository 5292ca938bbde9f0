#include "cli/cli.h"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "api/status_map.h"
#include "base/fault.h"
#include "base/log.h"
#include "cli/artifacts_internal.h"
#include "cli/command_internal.h"
#include "cli/memory.h"
#include "db/postgres_url.h"

namespace slipway::cli {
namespace {

std::stop_source& stop_source() {
  static std::stop_source source;
  return source;
}

// Waits for signals on a thread of its own, so that stopping may do anything.
void watch_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    int number = 0;
    sigwait(&signals, &number);
    stop_source().request_stop();
    sigwait(&signals, &number);
    _exit(128 + number);
  }).detach();
}

// XGBoost's threads spin while they wait, unless OpenMP's library finds this in the environment
// when it is loaded, which is before main: programs that train start themselves once more with it.
void wait_passively(int argc, char** argv) {
  constexpr const char* kPolicy = "OMP_WAIT_POLICY";
  if (std::getenv(kPolicy) != nullptr) return;  // NOLINT(concurrency-mt-unsafe): before any thread
  setenv(kPolicy, "passive", 0);                // NOLINT(concurrency-mt-unsafe): before any thread
  const bool trains = std::any_of(argv + 1, argv + argc,
                                  [](const char* word) { return std::string_view(word) == "run"; });
  if (trains) execv("/proc/self/exe", argv);  // comes back only when it cannot
}

// Every user of a machine can read the command lines of all.
Result<void> refuse_passwords(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::string_view word = argv[i];
    if (const auto at = word.find("postgres"); at != std::string_view::npos) word.remove_prefix(at);
    if (!db::is_postgres_url(word)) continue;
    const auto url = db::parse_postgres_url(std::string(word));
    if (!url || url->password.empty()) continue;
    return invalid_argument(
        "the command line shows the database's password to every user of this machine: set "
        "SLIPWAY_DATABASE to the URL instead, or leave the password out and set PGPASSWORD, or "
        "name "
        "a file with ?passfile=");
  }
  return {};
}

std::string painted(const std::string& text, const char* colour) {
  return colours() ? colour + text + "\033[0m" : text;
}

std::size_t shown_width(const std::string& text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {  // a colour takes no room
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
      ++width;
    }
  }
  return width;
}

}  // namespace

int fail(const Error& error) {
  std::cerr << "error: " << error.message << "\n";
  return api::status_of(error.code).exit;
}

Context interruptible_context(const std::string& actor) {
  static const bool watching = [] {
    watch_signals();
    return true;
  }();
  (void)watching;
  Context context;
  context.stop = stop_source().get_token();
  const char* user = std::getenv("USER");  // NOLINT(concurrency-mt-unsafe): read once, at start
  context.principal.name = !actor.empty()                     ? actor
                           : user != nullptr && *user != '\0' ? user
                                                              : "local";
  return context;
}

bool colours() {
  static const bool wanted = isatty(STDOUT_FILENO) == 1 &&
                             std::getenv("NO_COLOR") == nullptr;  // NOLINT(concurrency-mt-unsafe)
  return wanted;
}

std::string green(const std::string& text) { return painted(text, "\033[32m"); }
std::string red(const std::string& text) { return painted(text, "\033[31m"); }
std::string dim(const std::string& text) { return painted(text, "\033[2m"); }

void TextTable::print() const {
  std::vector<std::size_t> widths(rows_[0].size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], shown_width(row[i]));
  }
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (std::size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string& cell = rows_[r][i];
      line += cell;
      if (i + 1 < rows_[r].size()) line += std::string(widths[i] - shown_width(cell) + 2, ' ');
    }
    std::cout << (r == 0 ? dim(line) : line) << "\n";
  }
}

int print(const Globals& globals, const TextTable& table, const Json& json) {
  if (globals.json) {
    std::cout << json.dump(2) << "\n";
  } else {
    table.print();
  }
  return 0;
}

CLI::App* noun(CLI::App& app, const char* name, const char* about) {
  CLI::App* command = app.add_subcommand(name, about);
  command->require_subcommand(1);
  return command;
}

int main(int argc, char** argv) {
  if (auto sound = fault::check_environment(); !sound) return fail(sound.error());
  wait_passively(argc, argv);
  // Before any thread, and before Arrow is asked for memory. Commands that come and go may take
  // more of it for their speed.
  if (std::any_of(argv + 1, argv + argc,
                  [](const char* word) { return std::string_view(word) == "up"; }))
    keep_memory_small();
  log::set_text(isatty(STDERR_FILENO) == 1);
  log::set_level(log::Level::warn);

  Globals globals;
  CLI::App app{
      "slipway takes raw data to a served, watched and governed model, and hauls the model back "
      "for retraining when the world changes."};
  app.name("slipway");
  app.footer(
      "Exit codes: 0 done; 1 internal; 2 wrong input; 3 not found; 4 conflict; 5 not allowed; 6 "
      "busy or too late;\n"
      "7 it ran, and the answer is no; 130 cancelled.\nExample: slipway run "
      "examples/flights/pipeline.yaml && slipway up");
  app.require_subcommand(1);
  app.set_version_flag("--version", "slipway 0.1.0");
  app.add_option("--home", globals.home, "Folder that holds everything slipway stores")
      ->envname("SLIPWAY_HOME")
      ->capture_default_str();
  app.add_option(
         "--artifacts", globals.artifacts,
         "Bucket for the artifacts, s3://BUCKET/PREFIX?region=…&endpoint_override=HOST:PORT; "
         "the home remembers it. Credentials: AWS_ACCESS_KEY_ID … or AWS's files")
      ->envname("SLIPWAY_ARTIFACTS");
  app.add_option("--database", globals.database,
                 "PostgreSQL database for the metadata, postgresql://USER@HOST/NAME; the home "
                 "remembers it. Its password: PGPASSWORD, or passfile= in the URL")
      ->envname("SLIPWAY_DATABASE");
  app.fallthrough();
  add_run(app, globals);
  add_pipelines(app, globals);
  add_up(app, globals);
  add_data(app, globals);
  add_features(app, globals);
  add_show(app, globals);
  add_predict(app, globals);
  add_graph(app, globals);
  add_deploy(app, globals);
  add_predictions(app, globals);
  add_replay(app, globals);
  add_performance(app, globals);
  add_govern(app, globals);
  add_access(app, globals);
  add_webhooks(app, globals);
  add_moving(app, globals);
  add_gc(app, globals);
  add_artifacts(app, globals);
  add_database(app, globals);
  add_doctor(app, globals);
  add_completion(app, globals);
  if (auto safe = refuse_passwords(argc, argv); !safe) return fail(safe.error());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    const int code = app.exit(problem);
    return code == 0 ? 0 : 2;
  }
  return globals.exit_code;
}

}  // namespace slipway::cli
