// Beast's HTTP parser, filling a server::Request in place. The body goes where body_into() says.
#pragma once
#include <boost/beast/http/basic_parser.hpp>
#include <string>

#include "server/http.h"

namespace slipway::server {

class RequestParser final : public boost::beast::http::basic_parser<true> {
 public:
  explicit RequestParser(Request& request) : request_(request) {}
  bool expects_continue() const { return expects_continue_; }
  bool http_1_0() const { return version_ < 11; }
  // Where the bytes of the body are appended; null: nowhere.
  void body_into(std::string* place) { body_ = place; }

 private:
  using Verb = boost::beast::http::verb;
  using FieldName = boost::beast::http::field;
  using Text = boost::beast::string_view;
  using ErrorCode = boost::beast::error_code;

  void on_request_impl(Verb verb, Text method, Text target, int version, ErrorCode& error) override;
  void on_response_impl(int, Text, int, ErrorCode&) override {}
  void on_field_impl(FieldName field, Text name, Text value, ErrorCode& error) override;
  void on_header_impl(ErrorCode&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, ErrorCode& error) override;
  std::size_t on_body_impl(Text bytes, ErrorCode& error) override;
  void on_chunk_header_impl(std::uint64_t, Text, ErrorCode&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t remain, Text bytes, ErrorCode& error) override;
  void on_finish_impl(ErrorCode&) override {}

  Request& request_;
  std::string* body_ = nullptr;
  bool expects_continue_ = false;
  int version_ = 11;
};

}  // namespace slipway::server
