// The gRPC port: the Open Inference Protocol's GRPCInferenceService with Triton's extensions, and
// grpc.health.v1 (src/api/proto).
//   auto grpc = GrpcServer::start({.port = 5001}, router, host, clock, ids);
//   … (*grpc)->stop();    // no new calls, calls under way are finished, up to options.drain
// Inference has its own way from message to tensor; every other call is answered by the HTTP route
// that says the same, so that both ports tell one story. Who may call is the router's guard's
// affair: a call is asked for as its HTTP twin, with the metadata as headers ("authorization").
// router, host, clock and ids outlive the server; the router has its routes and its guard.
#pragma once
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "api/inference_api.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "server/http.h"
#include "serving/model_host.h"

namespace slipway::api {

struct GrpcOptions {
  std::string address = "127.0.0.1";
  int port = 0;                              // 0: any free one
  int max_message_bytes = 64 * 1024 * 1024;  // larger ones: RESOURCE_EXHAUSTED
  int max_streams = 1024;                    // calls under way on one connection
  std::chrono::milliseconds drain{30'000};
  // PEM files; both or none.
  std::filesystem::path tls_certificate;
  std::filesystem::path tls_key;
  InferenceOptions inference;
};

class GrpcServer {
 public:
  // failed_precondition when the port is taken.
  static Result<std::unique_ptr<GrpcServer>> start(GrpcOptions options,
                                                   const server::Router& router,
                                                   serving::ModelHost& host, const Clock& clock,
                                                   IdSource& ids);
  ~GrpcServer();  // stops
  int port() const;
  void stop();

 private:
  struct Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::api
