// Every route of the server, asked by everybody: nobody gets past the authorizer, and what each
// caller is answered is said here for each kind of thing, not for each route.
#include "cli/routes.h"

#include <gmock/gmock.h>

#include "access/authenticator.h"
#include "api/access_guard.h"
#include "api/mlflow_users.h"
#include "base/hash.h"
#include "serving/model_source.h"
#include "support/opened.h"
#include "support/support.h"

namespace slipway::cli {
namespace {

using access::Kind;
using access::Level;
using server::Access;
using server::Request;
using server::Router;

constexpr const char* kPassword = "a long enough secret";

// Who asks.
enum class Caller {
  nobody,
  wrong_password,
  unknown_token,
  expired_token,
  revoked_token,
  stranger,       // logged in, granted nothing
  reader,         // may read everything, and make nothing
  reading_token,  // of an admin, for reading only
  admin,
};
constexpr Caller kCallers[] = {Caller::nobody,        Caller::wrong_password, Caller::unknown_token,
                               Caller::expired_token, Caller::revoked_token,  Caller::stranger,
                               Caller::reader,        Caller::reading_token,  Caller::admin};

std::string_view name_of(Caller caller) {
  constexpr std::string_view kNames[] = {"nobody",        "wrong password", "unknown token",
                                         "expired token", "revoked token",  "stranger",
                                         "reader",        "reading token",  "admin"};
  return kNames[static_cast<std::size_t>(caller)];
}

class RoutesTest : public testing::Test {
 protected:
  void SetUp() override {
    home_ = test::opened(Home::open(scratch_ / "home", {.serving = true}));
    ctx_.principal.name = "tester";
    source_ = std::make_unique<serving::RegistrySource>(home_->db(), home_->registry(),
                                                        home_->blobs(), scratch_ / "cache");
    host_ =
        std::make_unique<serving::ModelHost>(home_->deployments(), *source_, home_->predictions(),
                                             home_->clock(), serving::HostOptions{});
    routes_ = std::make_unique<Routes>(*home_, *host_, *source_,
                                       [](const Context&) { return Result<void>(); });
    directory_ = &home_->access();
    make_users();
    authenticator_ = std::make_unique<access::Authenticator>(*directory_, home_->audit(),
                                                             home_->clock(), home_->ids());
    api::add_mlflow_user_routes(routes_->router(), *directory_, *authenticator_);
    ownership_ = std::make_unique<tracking::Ownership>(home_->db());
    storage_ = std::make_unique<registry::VersionStorage>(home_->db());
    guard_ = std::make_unique<api::AccessGuard>(
        routes_->router(),
        api::GuardParts{*directory_, *authenticator_, *ownership_, home_->predictions(),
                        home_->traces(), *storage_},
        api::GuardOptions{});
    make_things();
  }

  void make_users() {
    ASSERT_TRUE(test::ok(
        directory_->add_user(ctx_, {.name = "root", .password = kPassword, .admin = true})));
    ASSERT_TRUE(test::ok(directory_->add_user(ctx_, {.name = "stranger", .password = kPassword})));
    ASSERT_TRUE(test::ok(
        directory_->add_user(ctx_, {.name = "reader", .password = kPassword, .creates = false})));
    ASSERT_TRUE(
        test::ok(directory_->grant(ctx_, {.user = "reader"}, access::workspace(), Level::read)));
    expired_ = token({.user = "root", .lifetime = std::chrono::microseconds(1)});
    revoked_ = token({.user = "root"});
    ASSERT_TRUE(test::ok(directory_->revoke_token(ctx_, revoked_.substr(4, 16))));
    reading_ = token({.user = "root", .scope = {.level = Level::read}});
  }

  std::string token(const access::NewToken& wanted) {
    auto made = directory_->create_token(ctx_, wanted);
    EXPECT_TRUE(test::ok(made));
    return made ? made->text : "";
  }

  void make_things() {
    auto experiment = home_->tracking().create_experiment("flights", {}, "");
    ASSERT_TRUE(test::ok(experiment));
    values_["experiment_id"] = experiment->id.text();
    auto run = home_->tracking().create_run(ctx_, {.experiment = experiment->id});
    ASSERT_TRUE(test::ok(run));
    values_["run_id"] = run->id.value;
    auto model = home_->tracking().create_logged_model({.experiment = experiment->id});
    ASSERT_TRUE(test::ok(model));
    values_["model_id"] = model->id;
    tracing::TraceInfo trace{.id = "tr-0123456789abcdef0123456789abcdef",
                             .experiment = experiment->id};
    ASSERT_TRUE(test::ok(home_->traces().put(trace, "")));
    values_["trace_id"] = trace.id;
  }

  // A request that names what its route is about, wherever it may be named: the guard looks in the
  // query, the path and the body alike, and refuses nothing for saying more than is needed.
  Request request_for(const Router::Route& route, Caller caller) const {
    Request request;
    request.method = route.method;
    request.path = route.pattern;
    request.peer = "127.0.0.1";
    const std::string experiment = values_.at("experiment_id");
    std::map<std::string, std::string> known = values_;
    known["path"] = experiment + "/" + values_.at("run_id") + "/artifacts/model.txt";
    known["name"] = "late";
    known["model"] = "late";
    known["username"] = "root";
    for (std::size_t at = route.pattern.find('{'); at != std::string::npos;
         at = route.pattern.find('{', at + 1)) {
      std::string name = route.pattern.substr(at + 1, route.pattern.find('}', at) - at - 1);
      if (name.ends_with('*')) name.pop_back();
      request.params.emplace_back(name, known.contains(name) ? known.at(name) : "x");
    }
    if (route.method == "GET") {
      for (const auto& [name, value] : known) {
        if (std::ranges::find(request.params, name, &std::pair<std::string, std::string>::first) ==
            request.params.end())
          request.query.emplace_back(name, value);
      }
      request.query.emplace_back("experiment_name", "flights");
      request.query.emplace_back("run_ids", values_.at("run_id"));
      request.query.emplace_back("trace_ids", values_.at("trace_id"));
      request.query.emplace_back("resource_type", "experiment");
      request.query.emplace_back("resource_id", experiment);
    } else {
      Json body(known);
      body["experiment_ids"] = {experiment};
      body["trace_ids"] = {values_.at("trace_id")};
      body["new_name"] = "later";
      body["resource_type"] = "experiment";
      body["resource_id"] = experiment;
      const Json location = {{"mlflow_experiment", {{"experiment_id", experiment}}}};
      body["locations"] = Json::array({location});
      body["trace"] = {{"trace_info", {{"trace_location", location}}}};
      request.body = body.dump();
    }
    request.headers.emplace_back("x-mlflow-experiment-id", experiment);
    if (const std::string header = header_of(caller); !header.empty())
      request.headers.emplace_back("authorization", header);
    return request;
  }

  std::string header_of(Caller caller) const {
    const auto basic = [](const std::string& user, const std::string& password) {
      return "Basic " + to_base64(user + ":" + password);
    };
    switch (caller) {
      case Caller::nobody:
        return "";
      case Caller::wrong_password:
        // A name that is not root's: too many failures would slow root down.
        return basic("stranger", std::to_string(++wrong_) + " is not the password");
      case Caller::unknown_token:
        return "Bearer slw_0123456789abcdef_" + std::string(64, '0');
      case Caller::expired_token:
        return "Bearer " + expired_;
      case Caller::revoked_token:
        return "Bearer " + revoked_;
      case Caller::stranger:
        return basic("stranger", kPassword);
      case Caller::reader:
        return basic("reader", kPassword);
      case Caller::reading_token:
        return "Bearer " + reading_;
      case Caller::admin:
        return basic("root", kPassword);
    }
    return "";
  }

  // 200: the handler is called.
  int answer(const Router::Route& route, Caller caller) {
    const Request request = request_for(route, caller);
    const auto verdict = guard_->decide(ctx_, route, request);
    if (!verdict.refusal) return 200;
    if (verdict.refusal->status == 401) {
      const auto challenge = std::ranges::find(verdict.refusal->headers, "www-authenticate",
                                               &std::pair<std::string, std::string>::first);
      EXPECT_NE(challenge, verdict.refusal->headers.end()) << route.pattern;
    }
    return verdict.refusal->status;
  }

  test::Scratch scratch_;
  Context ctx_;
  std::unique_ptr<Home> home_;
  std::unique_ptr<serving::RegistrySource> source_;
  std::unique_ptr<serving::ModelHost> host_;
  std::unique_ptr<Routes> routes_;
  access::Directory* directory_ = nullptr;
  std::unique_ptr<access::Authenticator> authenticator_;
  std::unique_ptr<tracking::Ownership> ownership_;
  std::unique_ptr<registry::VersionStorage> storage_;
  std::unique_ptr<api::AccessGuard> guard_;
  std::map<std::string, std::string> values_;
  std::string expired_, revoked_, reading_;
  mutable int wrong_ = 0;
};

std::string label(const Router::Route& route) { return route.method + " " + route.pattern; }

// What may be asked without saying who one is; whoever adds a line here has to say why.
constexpr std::string_view kOpen[] = {
    // For load balancers.
    "GET /health",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    // MLflow's scoring servers answer it to whoever asks whether they live.
    "GET /ping",
    // The server's name and version, which clients ask before they say who they are.
    "GET /v2",
    "GET /version",
    "GET /api/3.0/mlflow/server-info",
    "GET /ajax-api/3.0/mlflow/server-info",
    // The link is the permission.
    "GET /api/2.0/mlflow-artifacts/signed/{path*}",
    "PUT /api/2.0/mlflow-artifacts/mpu-part/{upload}/{part}",
};

TEST_F(RoutesTest, OnlyListedRoutesAreOpen) {
  std::vector<std::string> open;
  for (const auto* route : routes_->router().routes()) {
    if (route->access == Access::open) open.push_back(label(*route));
  }
  std::vector<std::string> listed(std::begin(kOpen), std::end(kOpen));
  EXPECT_THAT(open, testing::UnorderedElementsAreArray(listed));
}

TEST_F(RoutesTest, EveryRouteHasARuleAndEveryRuleARoute) {
  std::set<std::pair<std::string, std::string>> used;
  for (const auto* route : routes_->router().routes()) {
    if (route->access == Access::open) continue;
    const auto about = api::describe_rule(*route);
    EXPECT_TRUE(about.has_value())
        << label(*route) << " has no rule in api/access_rules.cpp: it is for admins only";
    if (about) used.emplace(about->method, about->pattern);
  }
  for (const auto& rule : api::described_rules())
    EXPECT_TRUE(used.contains({rule.method, rule.pattern}))
        << rule.method << " " << rule.pattern << " is the rule of no route";
}

TEST_F(RoutesTest, WhoIsNobodyIsAnswered401Everywhere) {
  int asked = 0;
  for (const auto* route : routes_->router().routes()) {
    if (route->access == Access::open) continue;
    ++asked;
    for (const Caller caller :
         {Caller::nobody, Caller::unknown_token, Caller::expired_token, Caller::revoked_token})
      EXPECT_EQ(answer(*route, caller), 401) << label(*route) << " for " << name_of(caller);
    EXPECT_THAT(answer(*route, Caller::wrong_password), testing::AnyOf(401, 429)) << label(*route);
  }
  EXPECT_GT(asked, 150);
}

TEST_F(RoutesTest, EachCallerIsAnsweredByWhatTheRouteIsAbout) {
  for (const auto* route : routes_->router().routes()) {
    if (route->access == Access::open) continue;
    SCOPED_TRACE(label(*route));
    const auto rule = api::describe_rule(*route);
    ASSERT_TRUE(rule.has_value());
    const bool reads = route->access == Access::read;
    // Of everybody who is logged in: what they see there is narrowed.
    if (rule->about == "anyone") {
      for (const Caller caller : {Caller::stranger, Caller::reader, Caller::admin})
        EXPECT_EQ(answer(*route, caller), 200) << name_of(caller);
      continue;
    }
    EXPECT_EQ(answer(*route, Caller::admin), 200);
    if (rule->about == "self" || rule->about == "admin") {
      for (const Caller caller : {Caller::stranger, Caller::reader, Caller::reading_token})
        EXPECT_EQ(answer(*route, caller), 403) << name_of(caller);
    } else if (rule->about == "workspace") {
      EXPECT_EQ(answer(*route, Caller::stranger), 403);
      EXPECT_EQ(answer(*route, Caller::reader), reads ? 200 : 403);
      EXPECT_EQ(answer(*route, Caller::reading_token), reads ? 200 : 403);
    } else if (rule->about == "new") {
      EXPECT_EQ(answer(*route, Caller::stranger), 200);
      EXPECT_EQ(answer(*route, Caller::reader), 403);
      EXPECT_EQ(answer(*route, Caller::reading_token), 403);
    } else if (rule->about == "prediction") {
      // There is none: whoever may do this to everything hears so from the handler.
      EXPECT_EQ(answer(*route, Caller::stranger), 404);
      EXPECT_EQ(answer(*route, Caller::reader), reads ? 200 : 404);
      EXPECT_EQ(answer(*route, Caller::reading_token), reads ? 200 : 404);
    } else {  // a thing of somebody's
      EXPECT_EQ(answer(*route, Caller::stranger), 404) << "it must not learn that there is one";
      EXPECT_EQ(answer(*route, Caller::reader), reads ? 200 : 403);
      EXPECT_EQ(answer(*route, Caller::reading_token), reads ? 200 : 403);
    }
  }
}

TEST_F(RoutesTest, ARequestThatNamesAThingTwiceIsRefused) {
  const auto match = routes_->router().match("POST", "/api/2.0/mlflow/runs/set-tag");
  ASSERT_NE(match.route, nullptr);
  const std::string run = values_.at("run_id");
  const std::string bodies[] = {
      fmt::format(R"({{"run_id":"{}","run_id":"{}"}})", run, run),
      fmt::format(R"({{"run_id":"{}","run\u005fid":"{}"}})", run, run),
      fmt::format(R"({{"run\u005fid":"{}","key":"k","run_id":"{}"}})", run, run),
  };
  for (const auto& body : bodies) {
    Request request = request_for(*match.route, Caller::admin);
    request.body = body;
    const auto verdict = guard_->decide(ctx_, *match.route, request);
    ASSERT_TRUE(verdict.refusal.has_value()) << body;
    EXPECT_EQ(verdict.refusal->status, 400) << body;
  }
  // Both names of it may be used, and both count.
  Request request = request_for(*match.route, Caller::stranger);
  auto own = home_->tracking().create_experiment("own", {}, "");
  ASSERT_TRUE(test::ok(own));
  ASSERT_TRUE(test::ok(directory_->grant(ctx_, {.user = "stranger"},
                                         {Kind::experiment, own->id.text()}, Level::manage)));
  auto mine = home_->tracking().create_run(ctx_, {.experiment = own->id});
  ASSERT_TRUE(test::ok(mine));
  request.body = fmt::format(R"({{"run_id":"{}","key":"k","value":"v"}})", mine->id.value);
  EXPECT_FALSE(guard_->decide(ctx_, *match.route, request).refusal.has_value());
  for (const auto& [first, second] : {std::pair(mine->id.value, run), {run, mine->id.value}}) {
    request.body = fmt::format(R"({{"run_id":"{}","run_uuid":"{}"}})", first, second);
    const auto verdict = guard_->decide(ctx_, *match.route, request);
    ASSERT_TRUE(verdict.refusal.has_value());
    EXPECT_EQ(verdict.refusal->status, 404);
  }
}

TEST_F(RoutesTest, WhatIsKnownIsDecidedWithoutBlocking) {
  const auto match = routes_->router().match("POST", "/api/2.0/mlflow/runs/log-metric");
  ASSERT_NE(match.route, nullptr);
  const Request request = request_for(*match.route, Caller::admin);
  EXPECT_FALSE(guard_->decide_at_once(*match.route, request).has_value());
  EXPECT_FALSE(guard_->decide(ctx_, *match.route, request).refusal.has_value());
  const auto verdict = guard_->decide_at_once(*match.route, request);
  ASSERT_TRUE(verdict.has_value());
  EXPECT_FALSE(verdict->refusal.has_value());
  EXPECT_EQ(verdict->principal.name, "root");
}

TEST_F(RoutesTest, NothingMayBeCalledWhatStandsForEverything) {
  for (const auto& [method, path, body] :
       {std::tuple("POST", "/api/2.0/mlflow/registered-models/create", R"({"name":"*"})"),
        std::tuple("POST", "/api/2.0/mlflow/registered-models/rename",
                   R"({"name":"late","new_name":"*"})")}) {
    const auto match = routes_->router().match(method, path);
    ASSERT_NE(match.route, nullptr);
    Request request = request_for(*match.route, Caller::admin);
    request.body = body;
    const auto verdict = guard_->decide(ctx_, *match.route, request);
    ASSERT_TRUE(verdict.refusal.has_value()) << path;
    EXPECT_EQ(verdict.refusal->status, 400) << path;
  }
}

TEST_F(RoutesTest, AVersionCannotBeMadeOfWhatItsMakerMayNotRead) {
  const auto match = routes_->router().match("POST", "/api/2.0/mlflow/model-versions/create");
  ASSERT_NE(match.route, nullptr);
  ASSERT_TRUE(test::ok(
      directory_->grant(ctx_, {.user = "stranger"}, {Kind::model, "mine"}, Level::manage)));
  const std::string experiment = values_.at("experiment_id");
  const std::string run = values_.at("run_id");
  const auto status = [&](const std::string& source) {
    Request request = request_for(*match.route, Caller::stranger);
    request.body = Json{{"name", "mine"}, {"source", source}}.dump();
    const auto verdict = guard_->decide(ctx_, *match.route, request);
    return verdict.refusal ? verdict.refusal->status : 200;
  };
  const std::string hidden[] = {
      fmt::format("mlflow-artifacts:/{}/{}/artifacts/model", experiment, run),
      fmt::format("mlflow-artifacts://server:5000/{}/{}/artifacts/model", experiment, run),
      fmt::format("mlflow-artifacts:///{}/{}/artifacts/model", experiment, run),
      fmt::format("runs:/{}/model", run),
      fmt::format("models:/{}", values_.at("model_id")),
      "models:/late/3",
      "models:/late@champion",
      "runs:/00000000000000000000000000000000/model"};
  for (const auto& source : hidden) EXPECT_EQ(status(source), 404) << source;
  EXPECT_EQ(status("models:/mine/1"), 200);
  Request of_model = request_for(*match.route, Caller::stranger);
  of_model.body =
      Json{{"name", "mine"}, {"source", "s3://b/x"}, {"model_id", values_.at("model_id")}}.dump();
  const auto verdict = guard_->decide(ctx_, *match.route, of_model);
  ASSERT_TRUE(verdict.refusal.has_value());
  EXPECT_EQ(verdict.refusal->status, 404);
  ASSERT_TRUE(test::ok(
      directory_->grant(ctx_, {.user = "stranger"}, {Kind::experiment, experiment}, Level::read)));
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(status(hidden[i]), 200) << hidden[i];
}

}  // namespace
}  // namespace slipway::cli
