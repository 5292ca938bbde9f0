#include "cli/import_internal.h"
#include "cli/remote_internal.h"

namespace slipway::cli {
namespace {

Code code_of(int status) {
  switch (status) {
    case 400:
      return Code::invalid_argument;
    case 401:
      return Code::unauthenticated;
    case 403:
      return Code::permission_denied;
    case 404:
      return Code::not_found;
    case 503:
      return Code::unavailable;
    default:
      return Code::failed_precondition;
  }
}

}  // namespace

RemoteServer::RemoteServer(std::string url, std::string refusal, net::EgressPolicy policy)
    : url_(std::move(url)), refusal_(std::move(refusal)), http_(std::move(policy), clock_) {
  while (url_.ends_with('/')) url_.pop_back();
  if (const std::string token = environment_value("SLIPWAY_TOKEN"); !token.empty())
    headers_.emplace_back("Authorization", "Bearer " + token);
}

Result<std::unique_ptr<RemoteServer>> RemoteServer::at(std::string url, std::string refusal) {
  auto policy = transfer::policy_for(url);
  if (!policy) return policy.error();
  return std::unique_ptr<RemoteServer>(
      new RemoteServer(std::move(url), std::move(refusal), *std::move(policy)));
}

Result<Json> RemoteServer::ask(const std::string& method, const std::string& path,
                               const std::string& body) {
  net::HttpRequest request{.method = method, .url = url_ + path, .headers = headers_, .body = body};
  if (!body.empty()) request.headers.emplace_back("Content-Type", "application/json");
  auto answer = http_.send({}, request);
  if (!answer) {
    Error error = answer.error();
    if (error.code == Code::unavailable) error.message += "; is `slipway up` running?";
    return error;
  }
  auto json = parse_json(answer->body, "the server's answer");
  if (answer->status / 100 == 2) return json;
  std::string said = answer->body.substr(0, 300);
  if (json && json->is_object() && json->contains("error") && (*json)["error"].is_object())
    said = (*json)["error"].value("message", said);
  return Error{code_of(answer->status), "the server does not " + refusal_ + ": " + said};
}

Result<void> RemoteServer::cancel(const std::string& job) {
  if (auto told = ask("POST", "/api/v1/jobs/" + job + "/cancel", "{}"); !told) return told.error();
  return {};
}

}  // namespace slipway::cli
