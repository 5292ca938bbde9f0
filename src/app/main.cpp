// The program. What it is made of, and in which order, stands in cli/home.cpp; the server's part in
// cli/up.cpp.
#include "cli/cli.h"

int main(int argc, char** argv) { return slipway::cli::main(argc, argv); }
