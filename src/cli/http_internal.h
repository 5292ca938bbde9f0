// One keep-alive HTTP/1.1 connection to a slipway server, for commands that send much: blocking,
// one request at a time. As whoever SLIPWAY_TOKEN says; https:// by TLS, whose certificate is
// checked.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace slipway::cli {

class HttpConnection {
 public:
  explicit HttpConnection(
      std::string url);  // "http://127.0.0.1:5000", "https://…"; connects at the first request
  ~HttpConnection();
  struct Answer {
    int status = 0;
    std::string body;
  };
  Result<Answer> send(const std::string& method, const std::string& target, const std::string& body,
                      const std::vector<std::pair<std::string, std::string>>& headers);
  // GET whose answer has to be 200 and JSON.
  Result<Json> get_json(const std::string& target);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::cli
