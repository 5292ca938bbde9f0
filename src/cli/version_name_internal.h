// How a person names a version of a registered model.
#pragma once
#include <string>

#include "cli/home.h"
#include "registry/types.h"

namespace slipway::cli {

// "late" (its champion), "late@baseline", "late/3".
Result<registry::ModelVersion> version_named(Home& home, const std::string& text);

}  // namespace slipway::cli
