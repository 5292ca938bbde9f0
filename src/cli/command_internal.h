// What the commands share: the global options, the exit code of an error, tables.
#pragma once
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "cli/home.h"

namespace slipway::cli {

inline constexpr int kExitNo = 7;

struct Globals {
  std::string home = ".slipway";
  std::string database;   // --database: a URL, or empty for what the home says
  std::string artifacts;  // --artifacts, likewise
  bool json = false;
  int exit_code = 0;
};

// Prints "error: …" and gives the code for the shell.
int fail(const Error& error);

// SIGINT and SIGTERM stop this context; the second one ends the process at once.
Context interruptible_context(const std::string& actor = "");

bool colours();  // standard output is a terminal, and NO_COLOR is not set
std::string green(const std::string& text);
std::string red(const std::string& text);
std::string dim(const std::string& text);

// Columns as wide as their widest cell; the first line is the heading.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> heading) : rows_{std::move(heading)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void print() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// A list as --json asks for it; 0.
int print(const Globals& globals, const TextTable& table, const Json& json);

// Prints the card of MODEL, MODEL/VERSION or MODEL@ALIAS.
int show_card(const Globals& globals, Home& home, const std::string& name);

// A command that is nothing without one of its subcommands: `slipway models ls`.
CLI::App* noun(CLI::App& app, const char* name, const char* about);

// Each adds its subcommands; their callbacks set globals.exit_code.
void add_run(CLI::App& app, Globals& globals);
void add_pipelines(CLI::App& app, Globals& globals);
void add_up(CLI::App& app, Globals& globals);
void add_data(CLI::App& app, Globals& globals);
void add_data_quality(CLI::App& data, Globals& globals);  // below `data`
void add_features(CLI::App& app, Globals& globals);
void add_show(CLI::App& app, Globals& globals);
void add_predict(CLI::App& app, Globals& globals);
void add_graph(CLI::App& app, Globals& globals);
void add_deploy(CLI::App& app, Globals& globals);  // after add_show
void add_predictions(CLI::App& app, Globals& globals);
void add_replay(CLI::App& app, Globals& globals);
void add_performance(CLI::App& app, Globals& globals);
void add_govern(CLI::App& app, Globals& globals);
void add_access(CLI::App& app, Globals& globals);
void add_webhooks(CLI::App& app, Globals& globals);
void add_moving(CLI::App& app, Globals& globals);
void add_gc(CLI::App& app, Globals& globals);
void add_database(CLI::App& app, Globals& globals);
void add_doctor(CLI::App& app, Globals& globals);
// Prints a script for the shell; reads the commands from app itself.
void add_completion(CLI::App& app, Globals& globals);

// Runs body with the opened home; prints its error.
template <class Body>
int with_home(const Globals& globals, const HomeOptions& options, Body&& body) {
  HomeOptions with_database = options;
  with_database.database = globals.database;
  with_database.artifacts = globals.artifacts;
  auto home = Home::open(globals.home, with_database);
  if (!home) return fail(home.error());
  const int code = body(**home);
  return code;
}

}  // namespace slipway::cli
