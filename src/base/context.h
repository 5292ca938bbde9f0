// What travels with each piece of work: who asked, for how long, and whether it is still wanted.
// A cheap value, passed first. Loops call check() once per batch and return its error.
#pragma once
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace slipway {

// What a caller may see, for code that lists things: `kind` is "experiment", "model" or
// "deployment", a name is an experiment's id, a model's or a deployment's name. access implements
// it. Values: any thread may ask.
class Visibility {
 public:
  virtual ~Visibility() = default;
  virtual bool sees(std::string_view kind, std::string_view name) const = 0;
  // The names of that kind the caller sees, whether they exist or not; nothing: all there are.
  virtual std::optional<std::vector<std::string>> seen(std::string_view kind) const = 0;
};

struct Principal {
  std::string name = "local";                    // who acts: enters the audit log
  std::shared_ptr<const Visibility> visibility;  // null: everything
};

inline bool sees(const Principal& principal, std::string_view kind, std::string_view name) {
  return principal.visibility == nullptr || principal.visibility->sees(kind, name);
}
inline std::optional<std::vector<std::string>> seen(const Principal& principal,
                                                    std::string_view kind) {
  if (principal.visibility == nullptr) return std::nullopt;
  return principal.visibility->seen(kind);
}

class Context {
 public:
  Context() = default;
  explicit Context(const Clock& clock) : clock_(&clock) {}

  // error cancelled or deadline_exceeded, else nothing
  Result<void> check() const;
  bool cancelled() const { return stop.stop_requested(); }

  std::string request_id;
  Principal principal;
  std::optional<SteadyTime> deadline;  // needs the clock
  std::stop_token stop;

 private:
  const Clock* clock_ = nullptr;
};

}  // namespace slipway
