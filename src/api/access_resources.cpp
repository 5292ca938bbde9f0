#include "api/access_resources_internal.h"

namespace slipway::api {
namespace {

using access::Kind;
using access::Resource;
using Found = Result<std::optional<Resource>>;

constexpr std::size_t kMostRemembered = 65'536;

// "7" as the store writes it; what is no id names no experiment.
Resource experiment_of(std::string_view id) {
  const auto parsed = tracking::ExperimentId::parse(id);
  return {Kind::experiment, parsed ? parsed->text() : std::string(id)};
}

// The experiment a path of the artifact proxy begins with: "7/<run>/artifacts/model". Other folders
// belong to nobody in particular.
Resource owner_of_path(std::string_view path) {
  const std::string_view first = path.substr(0, path.find('/'));
  const auto parsed = tracking::ExperimentId::parse(first);
  if (!parsed || parsed->text() != first) return access::workspace();
  return {Kind::experiment, parsed->text()};
}

// What stands behind a scheme, without slashes in front.
std::string_view below(std::string_view uri, std::string_view scheme) {
  uri.remove_prefix(scheme.size());
  while (uri.starts_with('/')) uri.remove_prefix(1);
  return uri;
}

// The path in "mlflow-artifacts:/7/…", or in "mlflow-artifacts://host:port/7/…", which is the same.
std::string_view path_in_proxy(std::string_view uri) {
  constexpr std::string_view kScheme = "mlflow-artifacts:";
  std::string_view rest = below(uri, kScheme);
  const std::string_view behind = uri.substr(kScheme.size());
  if (behind.starts_with("//") && !behind.starts_with("///")) {
    const auto slash = rest.find('/');
    rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  }
  return rest;
}

std::string key_of(About about, const std::string& id) {
  return fmt::format("{} {}", static_cast<int>(about), id);
}

Found as_found(Result<tracking::ExperimentId> id) {
  if (!id) return id.error();
  return std::optional(Resource{Kind::experiment, id->text()});
}

}  // namespace

std::optional<std::int64_t> Resources::remembered(const std::string& key) const {
  return owners_.with([&](const auto& here) -> std::optional<std::int64_t> {
    const auto at = here.find(key);
    if (at == here.end()) return std::nullopt;
    return at->second;
  });
}

template <class Find>
Found Resources::owner(About about, const std::string& id, Find&& find) {
  const std::string key = key_of(about, id);
  if (const auto known = remembered(key))
    return std::optional(Resource{Kind::experiment, std::to_string(*known)});
  const auto found = find(id);
  if (!found) return found.error();
  owners_.with([&](auto& here) {
    if (here.size() >= kMostRemembered) here.clear();
    here.emplace(key, found->value);
  });
  return std::optional(Resource{Kind::experiment, found->text()});
}

Found Resources::run(const std::string& id) {
  return owner(About::run, id, [&](const auto& key) { return parts_.ownership.of_run(key); });
}

Found Resources::logged_model(const std::string& id) {
  return owner(About::logged_model, id,
               [&](const auto& key) { return parts_.ownership.of_logged_model(key); });
}

Found Resources::source(const std::string& uri) {
  if (uri.starts_with("mlflow-artifacts:")) return std::optional(owner_of_path(path_in_proxy(uri)));
  if (uri.starts_with("runs:")) {
    const std::string_view rest = below(uri, "runs:");
    return run(std::string(rest.substr(0, rest.find('/'))));
  }
  if (uri.starts_with("models:")) {
    const std::string_view rest = below(uri, "models:");
    const std::string_view name = rest.substr(0, rest.find_first_of("/@"));
    if (name == rest) return logged_model(std::string(name));
    return std::optional(Resource{Kind::model, std::string(name)});
  }
  return std::optional<Resource>();
}

Found Resources::find(About about, const std::string& value) {
  switch (about) {
    case About::experiment:
      return std::optional(experiment_of(value));
    case About::experiment_name:
      return as_found(parts_.ownership.of_name(value));
    case About::run:
      return run(value);
    case About::logged_model:
      return logged_model(value);
    case About::trace:  // not remembered: one that was deleted may be made anew elsewhere
      return as_found(parts_.traces.experiment_of(value));
    case About::artifact:
      return std::optional(owner_of_path(value));
    case About::source:
      return source(value);
    case About::model:
      return std::optional(Resource{Kind::model, value});
    case About::deployment:
      return std::optional(Resource{Kind::deployment, value});
    case About::prediction: {
      const auto found = parts_.predictions.find(value);
      if (!found) return found.error();
      return std::optional(Resource{Kind::deployment, found->deployment});
    }
    default:
      return std::optional(access::workspace());
  }
}

bool Resources::in_memory(const Subject& subject, const server::Request& request) const {
  switch (subject.about) {
    case About::experiment_name:
    case About::trace:
    case About::source:
    case About::prediction:
      return false;
    case About::run:
    case About::logged_model: {
      const auto ids = named_values(request, subject.fields);
      return ids && std::ranges::all_of(*ids, [&](const std::string& id) {
               return remembered(key_of(subject.about, id)).has_value();
             });
    }
    default:
      return true;
  }
}

Result<Resource> granted_resource(const server::Request& request) {
  constexpr std::string_view kType[] = {"resource_type"};
  constexpr std::string_view kId[] = {"resource_id"};
  const auto type = named_values(request, kType);
  if (!type) return type.error();
  const auto id = named_values(request, kId);
  if (!id) return id.error();
  if (type->size() != 1 || id->size() != 1)
    return invalid_argument("the request has to name one resource_type and one resource_id");
  return resource_in_mlflows_words(type->front(), id->front());
}

Result<Resource> resource_in_mlflows_words(std::string_view type, std::string_view id) {
  if (type == "experiment") return experiment_of(id);
  if (type == "registered_model" || type == "prompt") return Resource{Kind::model, std::string(id)};
  if (type == "deployment") return Resource{Kind::deployment, std::string(id)};
  if (type == "workspace") return access::workspace();
  return invalid_argument(fmt::format(
      "'{}' is no resource_type that can be granted here: there is experiment, registered_model, "
      "prompt, deployment and workspace",
      type.substr(0, 40)));
}

}  // namespace slipway::api
