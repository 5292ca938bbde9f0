// A server that a command has do its work: asked over the network, as whoever SLIPWAY_TOKEN says.
#pragma once
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "net/http_client.h"

namespace slipway::cli {

class RemoteServer {
 public:
  // refusal: what the server does not do when it answers with an error ("import", "run it").
  static Result<std::unique_ptr<RemoteServer>> at(std::string url, std::string refusal);

  // Not stopped by a context: cancelling has to be told to the server, too.
  Result<Json> ask(const std::string& method, const std::string& path,
                   const std::string& body = "");
  // A queued job ends at once, a running one a moment later.
  Result<void> cancel(const std::string& job);

 private:
  RemoteServer(std::string url, std::string refusal, net::EgressPolicy policy);

  std::string url_;
  std::string refusal_;
  SystemClock clock_;
  net::HttpClient http_;
  net::Headers headers_;
};

}  // namespace slipway::cli
