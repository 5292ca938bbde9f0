#include "server/parser_internal.h"

#include <boost/beast/http/error.hpp>

namespace slipway::server {
namespace {
// A length the caller only announced is not allocated before bytes arrive.
constexpr std::uint64_t kTrustedLength = 1024 * 1024;
}  // namespace

void RequestParser::on_request_impl(Verb, Text method, Text target, int version, ErrorCode&) {
  request_.method.assign(method.data(), method.size());
  request_.target.assign(target.data(), target.size());
  version_ = version;
}

void RequestParser::on_field_impl(FieldName field, Text name, Text value, ErrorCode& error) {
  std::string lower(name.data(), name.size());
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (field == FieldName::host && !request_.header("host").empty()) {
    error = boost::beast::http::error::bad_field;  // two names: which one was checked?
    return;
  }
  if (field == FieldName::expect) expects_continue_ = boost::beast::iequals(value, "100-continue");
  request_.headers.emplace_back(std::move(lower), std::string(value.data(), value.size()));
}

void RequestParser::on_body_init_impl(const boost::optional<std::uint64_t>& length, ErrorCode&) {
  if (length && body_ == &request_.body)
    body_->reserve(static_cast<std::size_t>(std::min(*length, kTrustedLength)));
}

std::size_t RequestParser::on_body_impl(Text bytes, ErrorCode&) {
  if (body_ != nullptr) body_->append(bytes.data(), bytes.size());
  return bytes.size();
}

std::size_t RequestParser::on_chunk_body_impl(std::uint64_t, Text bytes, ErrorCode&) {
  if (body_ != nullptr) body_->append(bytes.data(), bytes.size());
  return bytes.size();
}

}  // namespace slipway::server
