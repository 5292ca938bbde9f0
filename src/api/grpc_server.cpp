#include "api/grpc_server.h"

#include <absl/synchronization/mutex.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/json_util.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>

#include <future>

#include "api/grpc_messages_internal.h"
#include "api/inference_core_internal.h"
#include "api/status_map.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "health.grpc.pb.h"
#include "open_inference.grpc.pb.h"
#include "server/guard.h"

namespace slipway::api {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using server::Guard;
using server::Request;
using server::Response;
using server::Router;
namespace rpc = ::inference;

grpc::Status to_status(const Error& error) {
  return {static_cast<grpc::StatusCode>(status_of(error.code).grpc), error.message};
}

grpc::Status to_status(const Result<void>& outcome) {
  return outcome ? grpc::Status::OK : to_status(outcome.error());
}

// What an HTTP answer that is no 200 says to a gRPC caller.
Error error_of(const Response& response) {
  const auto body = parse_json(response.body, "the answer");
  const std::string message = body && body->is_object() ? body->value("error", "") : "";
  const auto statuses = all_statuses();
  const auto found = std::ranges::find(statuses, response.status, &Status::http);
  const bool broken = response.status >= 500 && response.status != 503 && response.status != 504;
  return {broken || found == statuses.end() ? Code::internal : found->code,
          message.empty() ? response.body : message};
}

// "ipv4:127.0.0.1:4711" or "ipv6:%5B::1%5D:4711" as an address.
std::string address_of(std::string_view peer) {
  std::string text(peer.substr(std::min(peer.size(), peer.find(':') + 1)));
  text.resize(std::min(text.size(), text.rfind(':')));
  if (text.starts_with("%5B") && text.ends_with("%5D")) text = text.substr(3, text.size() - 6);
  return text;
}

// ---- what all calls share

class Calls {
 public:
  Calls(const Router& router, serving::ModelHost& host, const Clock& clock, IdSource& ids,
        const GrpcOptions& options)
      : core(host, clock, ids, options.inference),
        secure_(!options.tls_certificate.empty()),
        router_(router),
        infer_(router.match("POST", "/v2/models/m/infer").route),
        infer_version_(router.match("POST", "/v2/models/m/versions/1/infer").route) {}

  // A call as the request it would be over HTTP: metadata are its headers.
  std::shared_ptr<Request> request_of(const CallbackServerContext& call) const {
    auto request = std::make_shared<Request>();
    request->secure = secure_;
    request->peer = address_of(call.peer());
    for (const auto& [name, value] : call.client_metadata())
      request->headers.emplace_back(std::string(name.data(), name.size()),
                                    std::string(value.data(), value.size()));
    return request;
  }

  Context context_of(const CallbackServerContext& call) const {
    Context ctx(core.clock);
    ctx.request_id = core.ids.next();
    const std::chrono::system_clock::time_point deadline = call.deadline();
    const auto left =
        std::chrono::time_point_cast<std::chrono::microseconds>(deadline) - core.clock.now();
    if (left < std::chrono::hours(24)) ctx.deadline = core.clock.steady() + left;
    return ctx;
  }

  void infer(CallbackServerContext& call, const rpc::ModelInferRequest& message,
             std::shared_ptr<Exchange> exchange) {
    const std::shared_ptr<Request> request = request_of(call);
    request->method = "POST";
    request->params.emplace_back("model", message.model_name());
    request->params.emplace_back("version", message.model_version());
    const Router::Route* route = message.model_version().empty() ? infer_ : infer_version_;
    Context ctx = context_of(call);
    if (auto refused = admit(*route, *request, ctx)) return exchange->done(*refused);
    core.infer(ctx, request, message.ByteSizeLong(), std::move(exchange));
  }

  // The answer of the HTTP route that says the same as a call; its body is JSON.
  Response twin(const CallbackServerContext& call, std::string_view method, std::string path,
                std::string body) const {
    const std::shared_ptr<Request> request = request_of(call);
    auto match = router_.match(method, path);
    if (match.route == nullptr)
      return inference_error(invalid_argument("a name is empty, or has a character it may not"));
    request->method = method;
    request->target = path;
    request->path = std::move(path);
    request->params = std::move(match.params);
    request->body = std::move(body);
    Context ctx = context_of(call);
    if (auto refused = admit(*match.route, *request, ctx)) return inference_error(*refused);
    if (!match.route->async_handler) return match.route->handler(ctx, *request);
    std::promise<Response> answer;
    match.route->async_handler(
        ctx, request, [&answer](Response response) { answer.set_value(std::move(response)); });
    return answer.get_future().get();
  }

  InferenceCore core;

 private:
  // Sets who asks; an error: may not.
  std::optional<Error> admit(const Router::Route& route, const Request& request,
                             Context& ctx) const {
    Guard* const guard = router_.guard();
    if (guard == nullptr) return std::nullopt;
    auto verdict = guard->decide_at_once(route, request);
    // A password's hash takes its time: on this call's thread, of which gRPC has more.
    if (!verdict) verdict = guard->decide(ctx, route, request);
    if (verdict->refusal) return error_of(*verdict->refusal);
    ctx.principal = std::move(verdict->principal);
    return std::nullopt;
  }

  const bool secure_;
  const Router& router_;
  const Router::Route* infer_;
  const Router::Route* infer_version_;
};

class UnaryExchange final : public Exchange {
 public:
  UnaryExchange(CallbackServerContext& call, ServerUnaryReactor& reactor,
                const rpc::ModelInferRequest& message, rpc::ModelInferResponse& answer)
      : call_(call), reactor_(reactor), message_(message), answer_(answer) {}
  Result<InferRequest> read(serving::Inference& inference) override {
    return read_message(message_, inference);
  }
  void write(const InferRequest& request, const serving::Inference& inference) override {
    write_message(request, inference, message_.raw_input_contents_size() > 0, answer_);
  }
  void done(const Result<void>& outcome) override { reactor_.Finish(to_status(outcome)); }
  bool wanted() const override { return !call_.IsCancelled(); }

 private:
  // Of gRPC: they live until Finish.
  CallbackServerContext& call_;
  ServerUnaryReactor& reactor_;
  const rpc::ModelInferRequest& message_;
  rpc::ModelInferResponse& answer_;
};

// Requests of a stream are answered one after the other, in their order; what is wrong with one is
// said in its answer, and the stream goes on. Deletes itself.
class Stream final
    : public grpc::ServerBidiReactor<rpc::ModelInferRequest, rpc::ModelStreamInferResponse> {
 public:
  Stream(Calls& calls, CallbackServerContext& call) : calls_(calls), call_(call) {
    StartRead(&message_);
  }
  void OnReadDone(bool more) override {
    if (!more) return Finish(grpc::Status::OK);
    calls_.infer(call_, message_, std::make_shared<Answering>(*this));
  }
  void OnWriteDone(bool sent) override {
    if (!sent) return Finish(grpc::Status::CANCELLED);
    message_.Clear();
    StartRead(&message_);
  }
  void OnDone() override { delete this; }

 private:
  class Answering final : public Exchange {
   public:
    explicit Answering(Stream& stream) : stream_(stream) { stream_.answer_.Clear(); }
    Result<InferRequest> read(serving::Inference& inference) override {
      return read_message(stream_.message_, inference);
    }
    void write(const InferRequest& request, const serving::Inference& inference) override {
      write_message(request, inference, stream_.message_.raw_input_contents_size() > 0,
                    *stream_.answer_.mutable_infer_response());
    }
    void done(const Result<void>& outcome) override {
      if (!outcome) {
        stream_.answer_.Clear();
        stream_.answer_.set_error_message(outcome.error().message);
        stream_.answer_.mutable_infer_response()->set_id(stream_.message_.id());
      }
      stream_.StartWrite(&stream_.answer_);
    }
    bool wanted() const override { return !stream_.call_.IsCancelled(); }

   private:
    Stream& stream_;
  };

  Calls& calls_;
  CallbackServerContext& call_;
  rpc::ModelInferRequest message_;
  rpc::ModelStreamInferResponse answer_;
};

std::string model_path(std::string_view name, std::string_view version) {
  if (version.empty()) return fmt::format("/v2/models/{}", name);
  return fmt::format("/v2/models/{}/versions/{}", name, version);
}

// ---- the services

class InferenceService final : public rpc::GRPCInferenceService::CallbackService {
 public:
  explicit InferenceService(Calls& calls) : calls_(calls) {}

  ServerUnaryReactor* ModelInfer(CallbackServerContext* call, const rpc::ModelInferRequest* message,
                                 rpc::ModelInferResponse* answer) override {
    ServerUnaryReactor* reactor = call->DefaultReactor();
    calls_.infer(*call, *message,
                 std::make_shared<UnaryExchange>(*call, *reactor, *message, *answer));
    return reactor;
  }
  grpc::ServerBidiReactor<rpc::ModelInferRequest, rpc::ModelStreamInferResponse>* ModelStreamInfer(
      CallbackServerContext* call) override {
    return new Stream(calls_, *call);  // gRPC tells it when to go: OnDone
  }

  ServerUnaryReactor* ServerLive(CallbackServerContext* call, const rpc::ServerLiveRequest*,
                                 rpc::ServerLiveResponse* answer) override {
    answer->set_live(true);
    return finish(call, grpc::Status::OK);
  }
  ServerUnaryReactor* ServerReady(CallbackServerContext* call, const rpc::ServerReadyRequest*,
                                  rpc::ServerReadyResponse* answer) override {
    answer->set_ready(calls_.core.host.ready());
    return finish(call, grpc::Status::OK);
  }
  ServerUnaryReactor* ModelReady(CallbackServerContext* call, const rpc::ModelReadyRequest* message,
                                 rpc::ModelReadyResponse* answer) override {
    const Response response =
        calls_.twin(*call, "GET", model_path(message->name(), message->version()) + "/ready", {});
    answer->set_ready(response.status == 200);
    const bool said = response.status == 200 || response.status == 503;
    return finish(call, said ? grpc::Status::OK : to_status(error_of(response)));
  }
  ServerUnaryReactor* ServerMetadata(CallbackServerContext* call, const rpc::ServerMetadataRequest*,
                                     rpc::ServerMetadataResponse* answer) override {
    return by_twin(call, "GET", "/v2", {}, *answer, {});
  }
  ServerUnaryReactor* ModelMetadata(CallbackServerContext* call,
                                    const rpc::ModelMetadataRequest* message,
                                    rpc::ModelMetadataResponse* answer) override {
    return by_twin(call, "GET", model_path(message->name(), message->version()), {}, *answer, {});
  }
  ServerUnaryReactor* ModelConfig(CallbackServerContext* call,
                                  const rpc::ModelConfigRequest* message,
                                  rpc::ModelConfigResponse* answer) override {
    return by_twin(call, "GET", model_path(message->name(), message->version()) + "/config", {},
                   *answer, "config");
  }
  ServerUnaryReactor* ModelStatistics(CallbackServerContext* call,
                                      const rpc::ModelStatisticsRequest* message,
                                      rpc::ModelStatisticsResponse* answer) override {
    const std::string path = message->name().empty()
                                 ? "/v2/models/stats"
                                 : model_path(message->name(), message->version()) + "/stats";
    return by_twin(call, "GET", path, {}, *answer, {});
  }
  ServerUnaryReactor* RepositoryIndex(CallbackServerContext* call,
                                      const rpc::RepositoryIndexRequest* message,
                                      rpc::RepositoryIndexResponse* answer) override {
    return by_twin(call, "POST", "/v2/repository/index", Json{{"ready", message->ready()}}.dump(),
                   *answer, "models");
  }
  ServerUnaryReactor* RepositoryModelLoad(CallbackServerContext* call,
                                          const rpc::RepositoryModelLoadRequest* message,
                                          rpc::RepositoryModelLoadResponse* answer) override {
    return by_twin(call, "POST",
                   fmt::format("/v2/repository/models/{}/load", message->model_name()),
                   with_parameters(message->parameters_size()), *answer, {});
  }
  ServerUnaryReactor* RepositoryModelUnload(CallbackServerContext* call,
                                            const rpc::RepositoryModelUnloadRequest* message,
                                            rpc::RepositoryModelUnloadResponse* answer) override {
    return by_twin(call, "POST",
                   fmt::format("/v2/repository/models/{}/unload", message->model_name()), {},
                   *answer, {});
  }

 private:
  static ServerUnaryReactor* finish(CallbackServerContext* call, const grpc::Status& status) {
    ServerUnaryReactor* reactor = call->DefaultReactor();
    reactor->Finish(status);
    return reactor;
  }
  static std::string with_parameters(int count) {
    return count == 0 ? std::string() : R"({"parameters":{"config":"given"}})";
  }

  // The twin's JSON has the names of the message's fields; more than those are left out. under: the
  // field the whole of it goes to.
  template <class Message>
  ServerUnaryReactor* by_twin(CallbackServerContext* call, std::string_view method,
                              std::string path, std::string body, Message& answer,
                              std::string_view under) {
    Response response = calls_.twin(*call, method, std::move(path), std::move(body));
    if (response.status != 200) return finish(call, to_status(error_of(response)));
    if (!under.empty()) response.body = fmt::format(R"({{"{}":{}}})", under, response.body);
    if (response.body.empty()) return finish(call, grpc::Status::OK);
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto parsed =
        google::protobuf::util::JsonStringToMessage(response.body, &answer, options);
    if (parsed.ok()) return finish(call, grpc::Status::OK);
    log::error("an answer does not fit its message", {{"error", parsed.ToString()}});
    return finish(call, {grpc::StatusCode::INTERNAL, "the answer does not fit its message"});
  }

  Calls& calls_;
};

class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  explicit HealthService(const serving::ModelHost& host) : host_(host) {}
  ServerUnaryReactor* Check(CallbackServerContext* call,
                            const grpc::health::v1::HealthCheckRequest* message,
                            grpc::health::v1::HealthCheckResponse* answer) override {
    using Answer = grpc::health::v1::HealthCheckResponse;
    ServerUnaryReactor* reactor = call->DefaultReactor();
    if (!message->service().empty() &&
        message->service() != rpc::GRPCInferenceService::service_full_name()) {
      reactor->Finish({grpc::StatusCode::NOT_FOUND,
                       fmt::format("there is no service '{}'", message->service())});
      return reactor;
    }
    answer->set_status(host_.ready() ? Answer::SERVING : Answer::NOT_SERVING);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const serving::ModelHost& host_;
};

Result<std::shared_ptr<grpc::ServerCredentials>> credentials(const GrpcOptions& options) {
  if (options.tls_certificate.empty()) return grpc::InsecureServerCredentials();
  auto certificate = read_file(options.tls_certificate);
  if (!certificate) return certificate.error();
  auto key = read_file(options.tls_key);
  if (!key) return key.error();
  grpc::SslServerCredentialsOptions tls;
  tls.pem_key_cert_pairs.push_back({std::move(*key), std::move(*certificate)});
  return grpc::SslServerCredentials(tls);
}

}  // namespace

struct GrpcServer::Impl {
  Impl(const GrpcOptions& settings, const Router& router, serving::ModelHost& host,
       const Clock& clock, IdSource& ids)
      : options(settings),
        calls(router, host, clock, ids, settings),
        inference(calls),
        health(host) {}
  const GrpcOptions options;
  Calls calls;
  InferenceService inference;
  HealthService health;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::once_flag stopped;
};

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(GrpcOptions options, const Router& router,
                                                      serving::ModelHost& host, const Clock& clock,
                                                      IdSource& ids) {
  auto identity = credentials(options);
  if (!identity) return identity.error();
  // Debian's Abseil looks for deadlocks at every lock, which is for debugging: 5 % of a call.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // What the library has to say belongs into our log, and what matters comes back as a status.
  gpr_set_log_function([](gpr_log_func_args* said) {
    log::debug("grpc", {{"message", said->message == nullptr ? "" : said->message}});
  });
  // Bytes of a caller that are no message would be a line in our log each.
  google::protobuf::SetLogHandler(nullptr);
  auto impl = std::make_unique<Impl>(options, router, host, clock, ids);
  const bool v6 = options.address.find(':') != std::string::npos;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(
      fmt::format("{}{}{}:{}", v6 ? "[" : "", options.address, v6 ? "]" : "", options.port),
      *identity, &impl->port);
  // Two servers on one port would each get some of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.RegisterService(&impl->inference);
  builder.RegisterService(&impl->health);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return failed_precondition(
        fmt::format("gRPC cannot listen on {0}:{1}: another program has the port ('ss -ltnp sport "
                    "= :{1}' shows which), or the address is not this machine's. Choose another "
                    "with --grpc-port, or none with --no-grpc",
                    options.address, options.port));
  }
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() { stop(); }
int GrpcServer::port() const { return impl_->port; }
void GrpcServer::stop() {
  std::call_once(impl_->stopped, [&] {
    // gRPC measures by the system's clock.
    impl_->server->Shutdown(
        gpr_time_add(gpr_now(GPR_CLOCK_REALTIME),
                     gpr_time_from_millis(impl_->options.drain.count(), GPR_TIMESPAN)));
    impl_->server->Wait();
  });
}

}  // namespace slipway::api
