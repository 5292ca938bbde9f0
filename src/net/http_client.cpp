#include "net/http_client.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/guarded.h"

namespace slipway::net {
namespace {

constexpr std::size_t kMaxHeaderBytes = std::size_t{256} << 10;

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// The parts of a URL that decide; `shown` is what may stand in a message.
struct Target {
  std::string url;
  std::string host;
  int port = 0;
  std::string shown;
};

std::string part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return "";
  std::string out = text;
  curl_free(text);
  return out;
}

Result<Target> target_of(CURLU* url) {
  Target target;
  const std::string scheme = part_of(url, CURLUPART_SCHEME);
  target.host = part_of(url, CURLUPART_HOST);
  if (scheme != "http" && scheme != "https") {
    return invalid_argument("the URL has the scheme '" + scheme +
                            "'; only http and https are used");
  }
  if (target.host.empty()) return invalid_argument("the URL has no host");
  if (!part_of(url, CURLUPART_USER).empty() || !part_of(url, CURLUPART_PASSWORD).empty()) {
    return invalid_argument("the URL for '" + target.host +
                            "' holds a user name or password: send them in a header");
  }
  target.port = std::atoi(part_of(url, CURLUPART_PORT, CURLU_DEFAULT_PORT).c_str());
  curl_url_set(url, CURLUPART_FRAGMENT, nullptr, 0);
  target.url = part_of(url, CURLUPART_URL);
  target.shown = scheme + "://" + target.host + ":" + std::to_string(target.port) +
                 part_of(url, CURLUPART_PATH).substr(0, 200);
  return target;
}

Result<Url> parse_url(const std::string& text) {
  Url url(curl_url());
  if (!url) return resource_exhausted("no memory for a URL");
  if (const CURLUcode code =
          curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME);
      code != CURLUE_OK) {
    return invalid_argument("'" + text.substr(0, text.find('?')).substr(0, 200) +
                            "' is not a URL: " + curl_url_strerror(code));
  }
  return url;
}

bool is_token(std::string_view text) {  // RFC 9110, 5.6.2
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return (c < 0x80 && std::isalnum(c) != 0) ||
           kMarks.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

Result<void> check_request(const HttpRequest& request) {
  if (!is_token(request.method))
    return invalid_argument("'" + request.method.substr(0, 40) + "' is not an HTTP method");
  for (const auto& [name, value] : request.headers) {
    if (!is_token(name))
      return invalid_argument("'" + name.substr(0, 80) + "' is not a header name");
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
      return invalid_argument("the value of header '" + name + "' holds a line break or NUL");
    }
  }
  return {};
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// One request on its way: what curl's callbacks see.
struct Exchange {
  const EgressPolicy* policy = nullptr;
  const Target* target = nullptr;
  const std::function<Result<void>(std::string_view)>* sink = nullptr;
  CURL* easy = nullptr;
  std::size_t max_bytes = 0;
  std::size_t header_bytes = 0;
  HttpResponse response;
  std::optional<Error> refused;  // by the policy, at the socket
  std::optional<Error> too_large;
  std::optional<Error> sink_failed;

  bool goes_to_sink() const {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return *sink && status / 100 == 2;
  }
};

std::size_t on_body(char* data, std::size_t, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  if (exchange.goes_to_sink()) {
    if (auto taken = (*exchange.sink)({data, count}); !taken) {
      exchange.sink_failed = taken.error();
      return 0;
    }
    return count;
  }
  if (exchange.response.body.size() + count > exchange.max_bytes) {
    exchange.too_large =
        resource_exhausted("the answer of " + exchange.target->shown + " has more than " +
                           std::to_string(exchange.max_bytes) + " bytes");
    return 0;
  }
  exchange.response.body.append(data, count);
  return count;
}

std::size_t on_header(char* data, std::size_t, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  std::string_view line(data, count);
  if ((exchange.header_bytes += count) > kMaxHeaderBytes) {
    exchange.too_large =
        resource_exhausted("the headers of " + exchange.target->shown + " have more than " +
                           std::to_string(kMaxHeaderBytes) + " bytes");
    return 0;
  }
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {
    exchange.response.headers.clear();  // of an interim answer (100, 103)
    return count;
  }
  if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
      value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    exchange.response.headers.emplace_back(lower(line.substr(0, colon)), value);
  }
  return count;
}

curl_socket_t on_socket(void* user, curlsocktype, curl_sockaddr* to) {
  auto& exchange = *static_cast<Exchange*>(user);
  std::optional<Address> address;
  int port = 0;
  if (to->family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, &to->addr, sizeof four);
    Address mapped{};
    mapped[10] = mapped[11] = 0xFF;
    std::memcpy(mapped.data() + 12, &four.sin_addr, 4);
    address = mapped;
    port = ntohs(four.sin_port);
  } else if (to->family == AF_INET6) {
    sockaddr_in6 six{};
    // curl's structure holds as many bytes as the family needs behind `addr`.
    std::memcpy(&six, static_cast<const void*>(&to->addr),
                std::min<std::size_t>(sizeof six, to->addrlen));
    Address plain{};
    std::memcpy(plain.data(), &six.sin6_addr, 16);
    if (auto brought = parse_address(to_string(plain))) address = *brought;  // NAT64 becomes IPv4
    port = ntohs(six.sin6_port);
  }
  if (!address) return CURL_SOCKET_BAD;
  if (auto allowed = exchange.policy->check_address(exchange.target->host, *address, port);
      !allowed) {
    exchange.refused = allowed.error();
    return CURL_SOCKET_BAD;
  }
  return ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

Error curl_error(CURLcode code, const char* detail, const Target& target,
                 std::chrono::milliseconds timeout) {
  const std::string text = detail != nullptr && *detail != '\0' ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return deadline_exceeded("no whole answer from " + target.shown + " within " +
                               std::to_string(timeout.count()) + " ms");
    case CURLE_PEER_FAILED_VERIFICATION:
      return unavailable("the certificate of " + target.shown + " is not trusted (" + text +
                         "): add the issuer's certificate to the trusted ones (ca_file)");
    case CURLE_OUT_OF_MEMORY:
      return resource_exhausted("no memory for a request to " + target.shown);
    default:
      return unavailable("no answer from " + target.shown + ": " + text);
  }
}

// A multi handle (which owns the connections) with its one easy handle. Used by one thread at a
// time.
struct Handle {
  Handle() : multi(curl_multi_init()), easy(curl_easy_init()) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    if (multi != nullptr) curl_multi_cleanup(multi);
  }
  CURLM* multi;
  CURL* easy;
};

}  // namespace

struct HttpClient::Impl {
  Impl(EgressPolicy egress, const Clock& steady, HttpOptions settings)
      : policy(std::move(egress)), clock(steady), options(std::move(settings)) {}

  std::unique_ptr<Handle> take() {
    auto handle = idle.with([](auto& handles) -> std::unique_ptr<Handle> {
      if (handles.empty()) return nullptr;
      auto last = std::move(handles.back());
      handles.pop_back();
      return last;
    });
    return handle ? std::move(handle) : std::make_unique<Handle>();
  }

  void give_back(std::unique_ptr<Handle> handle) {
    idle.with([&](auto& handles) {
      if (handles.size() < options.max_idle) handles.push_back(std::move(handle));
    });
  }

  Result<HttpResponse> once(const Context& ctx, const HttpRequest& request, const Target& target,
                            bool same_host);
  Result<CURLcode> drive(const Context& ctx, Handle& handle) const;

  EgressPolicy policy;
  const Clock& clock;
  HttpOptions options;
  Guarded<std::vector<std::unique_ptr<Handle>>> idle;
};

// Runs the prepared transfer to its end. A cancelled context wakes the poll at once.
Result<CURLcode> HttpClient::Impl::drive(const Context& ctx, Handle& handle) const {
  const std::stop_callback wake(ctx.stop, [&] { curl_multi_wakeup(handle.multi); });
  while (true) {
    int running = 0;
    if (const CURLMcode code = curl_multi_perform(handle.multi, &running); code != CURLM_OK) {
      return internal(std::string("curl: ") + curl_multi_strerror(code));
    }
    if (running == 0) break;
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    if (const CURLMcode code = curl_multi_poll(handle.multi, nullptr, 0, 1000, nullptr);
        code != CURLM_OK) {
      return internal(std::string("curl: ") + curl_multi_strerror(code));
    }
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
  }
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(handle.multi, &left)) {
    if (message->msg == CURLMSG_DONE) return message->data.result;
  }
  return internal("curl ended a transfer without a result");
}

Result<HttpResponse> HttpClient::Impl::once(const Context& ctx, const HttpRequest& request,
                                            const Target& target, bool same_host) {
  if (auto wanted = ctx.check(); !wanted) return wanted.error();
  if (auto allowed = policy.check_host(target.host, target.port); !allowed) return allowed.error();
  auto timeout = request.timeout;
  if (ctx.deadline) {
    timeout = std::min(
        timeout, std::chrono::ceil<std::chrono::milliseconds>(*ctx.deadline - clock.steady()));
  }
  if (timeout.count() <= 0)
    return deadline_exceeded("no time left for a request to " + target.shown);

  auto handle = take();
  CURL* easy = handle->easy;
  if (easy == nullptr || handle->multi == nullptr)
    return resource_exhausted("no memory for an HTTP request");
  curl_easy_reset(easy);
  Exchange exchange;
  exchange.policy = &policy;
  exchange.target = &target;
  exchange.sink = &request.sink;
  exchange.easy = easy;
  exchange.max_bytes = request.max_response_bytes;
  char detail[CURL_ERROR_SIZE] = {};

  std::unique_ptr<curl_slist, FreeList> headers;
  const auto add_header = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(headers.get(), line.c_str());
    if (longer == nullptr) return;
    (void)headers.release();
    headers.reset(longer);
  };
  for (const auto& [name, value] : request.headers) {
    const std::string lowered = lower(name);
    // Secrets were meant for the first host only.
    if (!same_host && (lowered == "authorization" || lowered == "cookie")) continue;
    add_header(value.empty() ? name + ";" : name + ": " + value);
  }
  add_header("Expect:");  // do not wait for "100 Continue"

  curl_easy_setopt(easy, CURLOPT_URL, target.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(std::min(timeout, options.connect_timeout).count()));
  if (request.stall.count() > 0) {
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall.count()));
  }
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &on_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &exchange);
  if (!options.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET" || !request.body.empty()) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }

  curl_multi_add_handle(handle->multi, easy);
  const auto driven = drive(ctx, *handle);
  curl_multi_remove_handle(handle->multi, easy);
  if (!driven) return driven.error();  // the handle goes, and its half-used connection with it
  const CURLcode code = *driven;
  if (code == CURLE_OK) {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    exchange.response.status = static_cast<int>(status);
    give_back(std::move(handle));
    return std::move(exchange.response);
  }
  if (exchange.refused) return *exchange.refused;
  if (exchange.too_large) return *exchange.too_large;
  if (exchange.sink_failed) return *exchange.sink_failed;
  return curl_error(code, detail, target, timeout);
}

std::string_view HttpResponse::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

HttpClient::HttpClient(EgressPolicy policy, const Clock& clock, HttpOptions options) {
  static const CURLcode started =
      curl_global_init(CURL_GLOBAL_DEFAULT);  // once a process; statics are made thread-safely
  (void)started;
  impl_ = std::make_unique<Impl>(std::move(policy), clock, std::move(options));
}

HttpClient::~HttpClient() = default;

Result<void> HttpClient::check(const std::string& text) const {
  const auto url = parse_url(text);
  if (!url) return url.error();
  const auto target = target_of(url->get());
  if (!target) return target.error();
  return impl_->policy.check_host(target->host, target->port);
}

Result<HttpResponse> HttpClient::send(const Context& ctx, const HttpRequest& request) const {
  if (auto valid = check_request(request); !valid) return valid.error();
  auto url = parse_url(request.url);
  if (!url) return url.error();
  auto target = target_of(url->get());
  if (!target) return target.error();
  const std::string first_origin = target->host + ":" + std::to_string(target->port);
  for (int hop = 0;; ++hop) {
    const bool same_host = target->host + ":" + std::to_string(target->port) == first_origin;
    auto response = impl_->once(ctx, request, *target, same_host);
    if (!response) return response;
    const bool moved = response->status >= 301 && response->status <= 308 &&
                       response->status != 304 && response->status != 305 &&
                       response->status != 306;
    const std::string location(response->header("location"));
    const bool follow =
        request.max_redirects > 0 && (request.method == "GET" || request.method == "HEAD");
    if (!moved || !follow || location.empty()) return response;
    if (hop >= request.max_redirects) {
      return unavailable(target->shown + " redirects more than " +
                         std::to_string(request.max_redirects) + " times");
    }
    // Relative to where we are.
    if (curl_url_set(url->get(), CURLUPART_URL, location.c_str(), CURLU_NON_SUPPORT_SCHEME) !=
        CURLUE_OK) {
      return unavailable(target->shown + " redirects to something that is not a URL");
    }
    auto next = target_of(url->get());
    if (!next) return next.error().at("redirect of " + target->shown);
    target = std::move(next);
  }
}

}  // namespace slipway::net
