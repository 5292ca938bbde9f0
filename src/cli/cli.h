// The command line: flags become calls, errors become exit codes (the table in api/status_map.h; 7:
// it ran, and the answer is no).
#pragma once

namespace slipway::cli {

int main(int argc, char** argv);

}  // namespace slipway::cli
