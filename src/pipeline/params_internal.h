// The `params:` of a pipeline file and what the caller gave for them.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/spec.h"
#include "pipeline/spec.h"

namespace slipway::pipeline {

using NoteProblem = std::function<void(const std::string& pointer, const Error&)>;

// In the order of the file. What is wrong goes to `problem`; an override that names no parameter
// goes there with the pointer "".
std::vector<Param> read_params(const SpecDocument& document,
                               const std::map<std::string, std::string>& overrides,
                               const NoteProblem& problem);

// "; did you mean 'x'?" or the list of what there is.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

// Line and column of a pointer, for sorting by the order of the file.
std::pair<int, int> position(const SpecDocument& document, const std::string& pointer);

}  // namespace slipway::pipeline
