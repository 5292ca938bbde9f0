// Which thing each route is about, and where its request names it: what the guard asks the
// authorizer for. The level that is needed is the route's own. A route that is not in the table is
// for admins only, and a test fails for it.
#pragma once
#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "access/types.h"
#include "server/http.h"

namespace slipway::api {

enum class About : std::uint8_t {
  nothing,     // an unused place in a rule
  anyone,      // whoever is logged in; what a handler lists it narrows by Principal::visibility
  self,        // the user named, or any other for admins
  admin,       // admins
  workspace,   // the workspace as a whole
  experiment,  // by id
  experiment_name,  // by name
  run,              // the experiment of a run
  logged_model,     // the experiment of a logged model
  trace,            // the experiment of a trace
  artifact,         // the experiment a path of the artifact proxy begins with
  source,           // what a model version is made from: a URI
  model,            // a registered model
  deployment,
  prediction,      // the deployment that made a prediction
  granted,         // a resource in the words of MLflow's grants: resource_type and resource_id
  new_experiment,  // makes one
  new_model,
};

// A field "header:name" is a header, and is looked up nowhere else. Any other one is looked up in
// the path's parts, the query and the JSON body, wherever it stands: all
// that is found counts. "a.b" is b within a; what stands within lists is found, too.
struct Subject {
  About about = About::nothing;
  std::array<std::string_view, 2> fields{};   // the same thing by two names
  bool optional = false;                      // nothing named: nothing is asked
  access::Level level = access::Level::none;  // none: the route's
  std::string_view otherwise{};               // when nothing is named
};

struct Rule {
  std::string_view method;
  // As in Router::add. A leading "mlflow/" stands for MLflow's prefixes, /api/2.0/ to
  // /ajax-api/3.0/.
  std::string_view pattern;
  std::array<Subject, 4> subjects;
};

// What people call it: "run", "registered model".
std::string_view word(About about);
// Null when there is none.
const Rule* find_rule(const server::Router::Route& route);

// Every value the request names the field by. invalid_argument when the body is no JSON object, or
// names one field twice: two readers could take two values for one.
Result<std::vector<std::string>> named_values(const server::Request& request,
                                              std::span<const std::string_view> fields);

}  // namespace slipway::api
