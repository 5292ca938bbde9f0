// `slipway pipelines`: the runs that a home knows.
#include <iostream>

#include "cli/command_internal.h"

namespace slipway::cli {

void add_pipelines(CLI::App& app, Globals& globals) {
  CLI::App* pipelines = noun(app, "pipelines", "Runs of pipelines");
  CLI::App* ls = pipelines->add_subcommand("ls", "List them, newest first");
  ls->add_flag("--json", globals.json, "Print JSON");
  ls->footer("Example: slipway pipelines ls");
  ls->callback([&globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto runs = home.engine().list({});
      if (!runs) return fail(runs.error());
      TextTable table({"RUN", "PIPELINE", "STATE", "STARTED", "REASON"});
      Json all = Json::array();
      for (const pipeline::RunReport& report : *runs) {
        table.add({report.id.substr(0, 12), report.pipeline,
                   std::string(pipeline::to_string(report.state)),
                   format_time(report.started).substr(0, 19), report.reason});
        all.push_back(to_json(report));
      }
      return print(globals, table, all);
    });
  });
  auto id = std::make_shared<std::string>();
  CLI::App* show = pipelines->add_subcommand("show", "One run with its steps");
  show->add_option("run", *id, "Its id, or the beginning of it")->required();
  show->footer("Example: slipway pipelines show 3fa94c");
  show->callback([id, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto report = home.engine().get(*id);
      if (!report) return fail(report.error());
      std::cout << to_json(*report).dump(2) << "\n";
      return 0;
    });
  });
}

}  // namespace slipway::cli
