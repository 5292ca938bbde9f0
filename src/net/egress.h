// Where this program may connect to. Checked twice: the host of the URL before anything is looked
// up, and the address that the name resolved to when the socket is made, so that a name which
// suddenly points inside (DNS rebinding) gains nothing. Addresses that are not public (loopback,
// private, link-local, cloud metadata …) are refused unless an entry names the address or its
// network.
//   auto policy = EgressPolicy::parse({"hooks.example.org:443", "*.example.com", "10.20.0.0/16",
//   "localhost:9000"});
// Entries, each with an optional ":port": a host; "*." and a domain, for the hosts below it; an
// address or a network (IPv6 in brackets: "[fd00::]/8"); "localhost", which also allows loopback
// addresses; "public", any host at a public address. Nothing listed: nothing allowed. A value;
// immutable, so thread-safe.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipway::net {

// An IPv4 address stands as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2); NAT64 (RFC 6052) is brought to
// the IPv4 it means.
using Address = std::array<std::uint8_t, 16>;

Result<Address> parse_address(std::string_view text);  // "10.0.0.1", "fd00::1"
std::string to_string(const Address& address);
// Globally reachable by the IANA special-purpose address registries (RFC 6890).
bool is_public(const Address& address);

class EgressPolicy {
 public:
  EgressPolicy() = default;  // refuses everything
  static Result<EgressPolicy> parse(const std::vector<std::string>& entries);

  // permission_denied, saying what to list.
  Result<void> check_host(std::string_view host, int port) const;
  Result<void> check_address(std::string_view host, const Address& address, int port) const;

 private:
  struct Entry {
    enum class Kind { host, below, network, loopback, any_public } kind = Kind::host;
    std::string name;   // lower case; for `below` with the leading dot
    Address network{};  // and how many leading bits count
    int bits = 0;
    int port = 0;  // 0: any
  };
  static Result<Entry> parse_entry(const std::string& text);
  static bool matches(const Entry& entry, const Address& address);
  std::vector<Entry> entries_;
};

}  // namespace slipway::net
