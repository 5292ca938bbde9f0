// Authentication of `slipway up`: who asks, what they may do, and the tokens of the jobs the server
// starts. One per server that wants it; without one everybody may do everything, which is only for
// loopback.
//   auto gate = Gate::open(home, ctx);       // makes the first admin; see first_password()
//   (*gate)->add_routes(router);  …  (*gate)->close(router, {});    // when all routes are there
// Changes that other processes make to users and grants are noticed within a quarter of a second.
#pragma once
#include <memory>
#include <string>
#include <thread>

#include "access/authenticator.h"
#include "api/access_guard.h"
#include "api/metrics_api.h"
#include "cli/home.h"
#include "server/http.h"
#include "tracking/ownership.h"

namespace slipway::cli {

struct Exposure {
  std::string address;
  bool auth = false;
  bool tls = false;
  bool insecure_http = false;
};
// failed_precondition for an address that others can reach, without authentication, or without TLS
// and nobody having said that it is no matter.
Result<void> check_exposure(const Exposure& exposure);

class Gate {
 public:
  static Result<std::unique_ptr<Gate>> open(Home& home, const Context& ctx);
  ~Gate();

  // Of the admin who was made just now; empty when there were users. It is nowhere else.
  const std::string& first_password() const { return first_password_; }
  void add_routes(server::Router& router);
  void add_metrics(api::Metrics& metrics);
  void close(server::Router& router, const api::GuardOptions& options);

  // For what a job's commands ask of this server, as the user who asked for the job or as slipway
  // itself. Ends with the object.
  class JobToken {
   public:
    JobToken(access::Directory& directory, access::CreatedToken token)
        : directory_(&directory), token_(std::move(token)) {}
    JobToken(JobToken&& other) noexcept
        : directory_(std::exchange(other.directory_, nullptr)), token_(std::move(other.token_)) {}
    JobToken& operator=(JobToken&&) = delete;
    ~JobToken();
    const std::string& text() const { return token_.text; }

   private:
    access::Directory* directory_;
    access::CreatedToken token_;
  };
  Result<JobToken> token_for_job(const std::string& job, const std::string& actor);

 private:
  explicit Gate(Home& home);
  void follow(const std::stop_token& stop);

  Home& home_;
  access::Authenticator authenticator_;
  tracking::Ownership ownership_;
  registry::VersionStorage storage_;
  api::GrantsFollowModels grants_follow_;
  std::unique_ptr<api::AccessGuard> guard_;
  std::string first_password_;
  std::jthread following_;
};

}  // namespace slipway::cli
