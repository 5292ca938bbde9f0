// `doctor` (is this installation sound, and how to mend it) and `completion`.
#include <sys/statvfs.h>

#include <iostream>

#include "cli/command_internal.h"
#include "data/engine.h"
#include "training/trainer.h"

namespace slipway::cli {
namespace {

struct Finding {
  std::string what;
  Result<std::string> outcome;  // how it is, or what is wrong and how to mend it
};

Result<std::string> check_sql() {
  auto engine = data::Engine::open({.memory_limit_mb = 64});
  if (!engine) return engine.error();
  auto table = (*engine)->query({}, "SELECT 1 AS one");
  if (!table) return table.error();
  return std::string("answers");
}

Result<std::string> check_training() {
  features::Matrix matrix{.rows = 4, .cols = 1, .values = {0, 1, 2, 3}, .labels = {0, 0, 1, 1}};
  training::TrainerSpec spec;
  spec.rounds = 1;
  spec.threads = 1;
  auto trained = training::train({}, spec, matrix);
  if (!trained) return trained.error();
  return std::string("trains");
}

Result<std::string> check_space(const std::string& folder) {
  struct statvfs facts{};
  if (statvfs(folder.c_str(), &facts) != 0) return errno_error(errno, "cannot look at", folder);
  const double free_gib =
      static_cast<double>(facts.f_bavail) * static_cast<double>(facts.f_frsize) / (1 << 30);
  if (free_gib < 1)
    return resource_exhausted(fmt::format(
        "{:.2f} GiB free at '{}': make room, or name another place with --home", free_gib, folder));
  return fmt::format("{:.0f} GiB free", free_gib);
}

Result<std::string> check_home(const Globals& globals) {
  std::error_code problem;
  const std::filesystem::path place = globals.home;
  if (!std::filesystem::exists(place / "slipway.db", problem) &&
      !std::filesystem::exists(place / "database.json", problem))
    return std::string("none yet at " + globals.home + ": the first run makes it");
  auto home =
      Home::open(globals.home,
                 {.create = false, .database = globals.database, .artifacts = globals.artifacts});
  if (!home) return home.error();
  auto findings = (*home)->db().check();
  if (!findings) return findings.error();
  if (!findings->empty())
    return data_loss(findings->front() + ": restore the database from a backup");
  auto verification = (*home)->audit().verify();
  if (!verification) return verification.error();
  if (!verification->ok) return data_loss("the audit log: " + verification->reason);
  return fmt::format("database sound, audit log whole ({} entries)", verification->head.size);
}

int doctor(const Globals& globals) {
  std::error_code problem;
  const std::string place = std::filesystem::exists(globals.home, problem) ? globals.home : ".";
  const Finding findings[] = {{"SQL engine", check_sql()},
                              {"training", check_training()},
                              {"disk", check_space(place)},
                              {"home", check_home(globals)}};
  bool sound = true;
  for (const Finding& finding : findings) {
    std::cout << fmt::format("{}  {:<12} {}\n", finding.outcome ? green("ok") : red("!!"),
                             finding.what,
                             finding.outcome ? *finding.outcome : finding.outcome.error().message);
    sound = sound && finding.outcome.has_value();
  }
  return sound ? 0 : 1;
}

std::string words_of(const CLI::App& app) {
  std::string words;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    words += command->get_name() + " ";
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  return words;
}

void complete(const CLI::App& app, const std::string& path, std::string& cases) {
  cases += "    '" + path + "') words='" + words_of(app) + "' ;;\n";
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    complete(*command, path.empty() ? command->get_name() : path + " " + command->get_name(),
             cases);
}

}  // namespace

void add_doctor(CLI::App& app, Globals& globals) {
  CLI::App* command = app.add_subcommand(
      "doctor", "Check the installation and the home, and say how to mend what is wrong");
  command->footer("Example: slipway doctor");
  command->callback([&globals] { globals.exit_code = doctor(globals); });
}

void add_completion(CLI::App& app, Globals& globals) {
  CLI::App* command =
      app.add_subcommand("completion", "Print completion for bash (and zsh with bashcompinit)");
  command->footer("Example: eval \"$(slipway completion)\"");
  command->callback([&app, &globals] {
    std::string cases;
    complete(app, "", cases);
    std::cout
        << "_slipway() {\n  local words path='' i\n  for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "    case \"${COMP_WORDS[i]}\" in -*) ;; *) path=\"${path:+$path }${COMP_WORDS[i]}\" ;; "
           "esac\n  done\n  case \"$path\" in\n"
        << cases
        << "  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n  [ "
           "${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "
           "\"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -F _slipway slipway\n";
    globals.exit_code = 0;
  });
}

}  // namespace slipway::cli
