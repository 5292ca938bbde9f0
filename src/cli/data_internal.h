// The parts of `data`, each in a file of its own. Private to this folder.
#pragma once
#include "cli/command_internal.h"

namespace slipway::cli {

void add_data_query(CLI::App& data, Globals& globals);

}  // namespace slipway::cli
