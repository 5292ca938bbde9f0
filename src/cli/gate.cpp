#include "cli/gate.h"

#include <boost/asio/ip/address.hpp>
#include <condition_variable>
#include <mutex>

#include "api/mlflow_users.h"
#include "base/log.h"

namespace slipway::cli {
namespace {

constexpr std::chrono::milliseconds kFollowEvery{250};
constexpr int kFlushEvery = 20;  // rounds
constexpr Duration kJobTokenLife = std::chrono::hours(24);
constexpr const char* kFirstAdmin = "admin";

Context as_slipway() {
  Context ctx;
  ctx.principal.name = std::string(access::kServiceUser);
  return ctx;
}

}  // namespace

Result<void> check_exposure(const Exposure& exposure) {
  if (exposure.address == "localhost") return {};
  boost::system::error_code problem;
  const auto address = boost::asio::ip::make_address(exposure.address, problem);
  if (problem) {
    return invalid_argument(fmt::format(
        "'{}' is no address to listen on: write a number such as 127.0.0.1, 0.0.0.0 or ::",
        exposure.address));
  }
  if (address.is_loopback()) return {};
  if (!exposure.auth) {
    return failed_precondition(
        fmt::format("others can reach {}, so whoever asks has to say who they are: add --auth "
                    "(the first start prints an admin's password), or listen on 127.0.0.1",
                    exposure.address));
  }
  if (!exposure.tls && !exposure.insecure_http) {
    return failed_precondition(fmt::format(
        "passwords and tokens would cross the network in the clear at {}: add --tls-cert and "
        "--tls-key, or --insecure-http when something in front of this server speaks TLS",
        exposure.address));
  }
  return {};
}

Gate::Gate(Home& home)
    : home_(home),
      authenticator_(home.access(), home.audit(), home.clock(), home.ids()),
      ownership_(home.db()),
      storage_(home.db()),
      grants_follow_(home.access()) {}

Result<std::unique_ptr<Gate>> Gate::open(Home& home, const Context& ctx) {
  auto password = home.access().bootstrap(ctx, kFirstAdmin);
  if (!password) return password.error();
  if (auto there = home.access().ensure_service_user(as_slipway()); !there) return there.error();
  auto gate = std::unique_ptr<Gate>(new Gate(home));
  gate->first_password_ = password->value_or("");
  home.registry().set_name_listener(gate->grants_follow_);
  gate->following_ =
      std::jthread([here = gate.get()](const std::stop_token& stop) { here->follow(stop); });
  return gate;
}

Gate::~Gate() {
  following_.request_stop();
  if (following_.joinable()) following_.join();
}

void Gate::follow(const std::stop_token& stop) {
  const auto note = [](std::string_view what, const Result<void>& outcome) {
    if (!outcome)
      log::error("users and grants", {{"part", what}, {"error", outcome.error().message}});
  };
  std::mutex mutex;
  std::condition_variable_any sleep;
  for (int round = 1; !stop.stop_requested(); ++round) {
    note("cannot be read", home_.access().refresh());
    if (round % kFlushEvery == 0) note("cannot be written", home_.access().flush());
    std::unique_lock lock(mutex);
    sleep.wait_for(lock, stop, kFollowEvery, [] { return false; });
  }
  note("cannot be written", home_.access().flush());
}

void Gate::add_routes(server::Router& router) {
  api::add_mlflow_user_routes(router, home_.access(), authenticator_);
}

void Gate::add_metrics(api::Metrics& metrics) {
  metrics.add([this](api::MetricWriter& out) {
    const auto logins = authenticator_.stats();
    const auto count = [&](const char* how, std::int64_t value) {
      out.counter("slipway_access_logins_total", "Callers who said who they are, by how it went.",
                  {{"outcome", how}}, static_cast<double>(value));
    };
    count("token", logins.tokens);
    count("password", logins.passwords);
    count("remembered", logins.remembered);
    count("refused", logins.refused);
    count("slowed_down", logins.slowed_down);
    if (guard_ == nullptr) return;
    const auto requests = guard_->stats();
    const auto decided = [&](const char* how, std::int64_t value) {
      out.counter("slipway_api_decisions_total", "Requests by what the authorizer said.",
                  {{"decision", how}}, static_cast<double>(value));
    };
    decided("admitted", requests.admitted);
    decided("unauthenticated", requests.unauthenticated);
    decided("denied", requests.denied);
    decided("unseen", requests.unseen);
  });
}

void Gate::close(server::Router& router, const api::GuardOptions& options) {
  guard_ = std::make_unique<api::AccessGuard>(
      router,
      api::GuardParts{home_.access(), authenticator_, ownership_, home_.predictions(),
                      home_.traces(), storage_},
      options);
  router.set_guard(guard_.get());
}

Gate::JobToken::~JobToken() {
  if (directory_ == nullptr) return;
  if (auto ended = directory_->revoke_token(as_slipway(), token_.token.id); !ended)
    log::error("a job's token lives on until it expires", {{"error", ended.error().message}});
}

Result<Gate::JobToken> Gate::token_for_job(const std::string& job, const std::string& actor) {
  const auto snapshot = home_.access().snapshot();
  const access::User* asked = snapshot->user_named(actor);
  auto token = home_.access().create_token(
      as_slipway(), {.user = asked == nullptr ? std::string(access::kServiceUser) : asked->name,
                     .label = "job " + job,
                     .scope = {.level = access::Level::manage},
                     .lifetime = kJobTokenLife});
  if (!token) return token.error();
  return JobToken(home_.access(), *std::move(token));
}

}  // namespace slipway::cli
