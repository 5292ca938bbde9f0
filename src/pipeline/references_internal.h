// ${params.x}, ${steps.x.y}, ${env.X} in the texts of a pipeline file; `$${` stands for `${`.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace slipway::pipeline {

struct Reference {
  enum class Root { params, steps, env };
  Root root = Root::params;
  std::string name;               // of the parameter, step or variable
  std::vector<std::string> path;  // what follows: {"metrics", "auc"}
  std::string text;               // as written: "${steps.fit.metrics.auc}"
};

// What a reference stands for; nothing: it stays as it is.
using Lookup =
    std::function<Result<std::optional<Json>>(const Reference&, const std::string& pointer)>;

enum class Escapes {
  keep,     // `$${` stays, and inserted texts are escaped: another replacement follows
  resolve,  // `$${` becomes `${`
};

// Replaces references in every text of a value. A text that is one reference becomes the value
// itself; in longer texts it is written out. Errors of lookups and of syntax go to `problem`, with
// the JSON pointer of the text.
Json replace_references(
    const Json& value, const std::string& pointer, Escapes escapes, const Lookup& lookup,
    const std::function<void(const std::string& pointer, const Error&)>& problem);

// Steps along a dotted path; keys may hold dots themselves ("report.json"). Null when there is
// nothing.
const Json* follow_path(const Json& value, const std::vector<std::string>& path,
                        std::size_t from = 0);

std::string json_pointer(const std::string& parent, std::string_view key);

}  // namespace slipway::pipeline
