// From what a request names (a run, a path, a URI) to the resource that decides who may touch it.
// Thread-safe.
#pragma once
#include <optional>
#include <string>
#include <unordered_map>

#include "access/types.h"
#include "api/access_guard.h"
#include "api/access_rules_internal.h"
#include "base/guarded.h"

namespace slipway::api {

class Resources {
 public:
  explicit Resources(const GuardParts& parts) : parts_(parts) {}  // what it refers to outlives it
  // not_found when there is no such thing; nothing for a source that is not kept here. May block.
  Result<std::optional<access::Resource>> find(About about, const std::string& value);
  // Whether find() needs no more than memory for all that the request names.
  bool in_memory(const Subject& subject, const server::Request& request) const;

 private:
  std::optional<std::int64_t> remembered(const std::string& key) const;
  template <class Find>
  Result<std::optional<access::Resource>> owner(About about, const std::string& id, Find&& find);
  Result<std::optional<access::Resource>> run(const std::string& id);
  Result<std::optional<access::Resource>> logged_model(const std::string& id);
  Result<std::optional<access::Resource>> source(const std::string& uri);

  const GuardParts parts_;
  // Run or logged model -> experiment, which never changes.
  Guarded<std::unordered_map<std::string, std::int64_t>> owners_;
};

// What a request of MLflow's for a grant is about: resource_type and resource_id.
Result<access::Resource> granted_resource(const server::Request& request);

}  // namespace slipway::api
