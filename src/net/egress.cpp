#include "net/egress.h"

#include <arpa/inet.h>

namespace slipway::net {
namespace {

constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
constexpr std::array<std::uint8_t, 12> kNat64 = {0x00, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0};

bool is_mapped(const Address& address) {
  return std::equal(kMapped.begin(), kMapped.end(), address.begin());
}

bool same_prefix(const Address& a, const Address& b, int bits) {
  const auto whole = static_cast<std::size_t>(bits / 8);
  if (!std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(whole), b.begin()))
    return false;
  const int rest = bits % 8;
  return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

struct Range {
  const char* address;
  int bits;  // of the address as written
};

// Not globally reachable, of https://www.iana.org/assignments/iana-ipv4-special-registry, and
// multicast.
constexpr Range kSpecial4[] = {{"0.0.0.0", 8},      {"10.0.0.0", 8},     {"100.64.0.0", 10},
                               {"127.0.0.0", 8},    {"169.254.0.0", 16}, {"172.16.0.0", 12},
                               {"192.0.0.0", 24},   {"192.0.2.0", 24},   {"192.88.99.0", 24},
                               {"192.168.0.0", 16}, {"198.18.0.0", 15},  {"198.51.100.0", 24},
                               {"203.0.113.0", 24}, {"224.0.0.0", 4},    {"240.0.0.0", 4}};
// Of 2000::/3, the only global unicast block in use.
constexpr Range kSpecial6[] = {{"2001::", 23}, {"2001:db8::", 32}, {"2002::", 16}, {"3fff::", 20}};

bool in_range(const Address& address, const Range& range, int offset) {
  const auto network = parse_address(range.address);
  return network && same_prefix(address, *network, range.bits + offset);
}

std::string host_name(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  while (!out.empty() && out.back() == '.') out.pop_back();  // "example.org." is the same host
  return out;
}

std::string_view without_brackets(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    return host.substr(1, host.size() - 2);
  return host;
}

bool is_loopback(const Address& address) {
  Address one{};
  one[15] = 1;
  return address == one || in_range(address, {"127.0.0.0", 8}, 96);
}

bool is_host_name(std::string_view text) {
  return !text.empty() && text.size() <= 253 && text.find("..") == std::string_view::npos &&
         text.front() != '.' && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
         });
}

// A number that fills the whole text, from 0 to most; nothing when it is not one.
std::optional<int> number(std::string_view text, int most) {
  int value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size() || value < 0 || value > most)
    return std::nullopt;
  return value;
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
  const std::string copy(without_brackets(text));
  Address address{};
  in_addr four{};
  if (::inet_pton(AF_INET, copy.c_str(), &four) == 1) {
    std::copy(kMapped.begin(), kMapped.end(), address.begin());
    std::memcpy(address.data() + 12, &four, 4);
    return address;
  }
  if (::inet_pton(AF_INET6, copy.c_str(), address.data()) != 1) {
    return invalid_argument("'" + copy.substr(0, 80) + "' is not an IP address");
  }
  if (std::equal(kNat64.begin(), kNat64.end(), address.begin())) {
    std::copy(kMapped.begin(), kMapped.end(), address.begin());
  }
  return address;
}

std::string to_string(const Address& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (is_mapped(address)) {
    ::inet_ntop(AF_INET, address.data() + 12, text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, address.data(), text, sizeof text);
  }
  return text;
}

bool is_public(const Address& address) {
  if (is_mapped(address)) {
    return std::none_of(std::begin(kSpecial4), std::end(kSpecial4),
                        [&](const Range& range) { return in_range(address, range, 96); });
  }
  if ((address[0] & 0xE0U) != 0x20U) return false;
  return std::none_of(std::begin(kSpecial6), std::end(kSpecial6),
                      [&](const Range& range) { return in_range(address, range, 0); });
}

Result<EgressPolicy::Entry> EgressPolicy::parse_entry(const std::string& text) {
  const auto wrong = [&](const std::string& why) {
    return invalid_argument("egress entry '" + text.substr(0, 100) + "' " + why +
                            "; wanted a host, '*.' and a domain, an address, a network such as "
                            "'10.0.0.0/8', 'localhost' "
                            "or 'public', each with an optional ':port'");
  };
  Entry entry;
  std::string_view rest = text;
  // The port: after the brackets of an IPv6 address, or after the only colon.
  const std::size_t bracket = rest.rfind(']');
  const std::size_t colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    if (rest.find(':', colon + 1) != std::string_view::npos)
      return wrong("has more than one ':' (put IPv6 in brackets)");
    const auto port = number(rest.substr(colon + 1), 65535);
    if (!port || *port == 0) return wrong("has no port from 1 to 65535 after ':'");
    entry.port = *port;
    rest = rest.substr(0, colon);
  }
  const std::size_t slash = rest.find('/');
  if (auto address = parse_address(rest.substr(0, slash))) {
    entry.kind = Entry::Kind::network;
    entry.network = *address;
    const bool four = is_mapped(*address);
    entry.bits = 128;
    if (slash != std::string_view::npos) {
      const auto bits = number(rest.substr(slash + 1), four ? 32 : 128);
      if (!bits) return wrong("has no network length after '/'");
      entry.bits = *bits + (four ? 96 : 0);
    }
    return entry;
  }
  entry.name = host_name(rest);
  if (entry.name == "public") {
    entry.kind = Entry::Kind::any_public;
  } else if (entry.name == "localhost") {
    entry.kind = Entry::Kind::loopback;
  } else if (entry.name.starts_with("*.")) {
    entry.kind = Entry::Kind::below;
    entry.name.erase(0, 1);
    if (!is_host_name(std::string_view(entry.name).substr(1))) return wrong("is not a domain");
  } else if (!is_host_name(entry.name)) {
    return wrong("is not a host");
  }
  return entry;
}

Result<EgressPolicy> EgressPolicy::parse(const std::vector<std::string>& entries) {
  EgressPolicy policy;
  for (const std::string& text : entries) {
    auto entry = parse_entry(text);
    if (!entry) return entry.error();
    policy.entries_.push_back(std::move(*entry));
  }
  return policy;
}

bool EgressPolicy::matches(const Entry& entry, const Address& address) {
  switch (entry.kind) {
    case Entry::Kind::network:
      return same_prefix(address, entry.network, entry.bits);
    case Entry::Kind::loopback:
      return is_loopback(address);
    case Entry::Kind::any_public:
      return is_public(address);
    case Entry::Kind::host:
    case Entry::Kind::below:
      return false;
  }
  return false;
}

Result<void> EgressPolicy::check_host(std::string_view host, int port) const {
  const std::string name = host_name(without_brackets(host));
  const auto address = parse_address(name);
  for (const Entry& entry : entries_) {
    if (entry.port != 0 && entry.port != port) continue;
    if (address ? matches(entry, *address)
                : entry.kind == Entry::Kind::any_public ||
                      (entry.kind == Entry::Kind::below && name.ends_with(entry.name)) ||
                      ((entry.kind == Entry::Kind::host || entry.kind == Entry::Kind::loopback) &&
                       name == entry.name)) {
      return {};
    }
  }
  return permission_denied("connections to '" + name.substr(0, 253) + ":" + std::to_string(port) +
                           "' are not allowed: list it under egress to allow them");
}

Result<void> EgressPolicy::check_address(std::string_view host, const Address& address,
                                         int port) const {
  if (is_public(address)) return {};  // the host was allowed
  const std::string name = host_name(without_brackets(host));
  for (const Entry& entry : entries_) {
    if (entry.port != 0 && entry.port != port) continue;
    // "localhost" allows loopback for that name and for loopback addresses, not for other names
    // that resolve to it.
    if (entry.kind == Entry::Kind::loopback && name != "localhost" && !parse_address(name))
      continue;
    if (matches(entry, address)) return {};
  }
  return permission_denied(
      "'" + name.substr(0, 253) + "' resolves to " + to_string(address) +
      ", which is not a public address: list this address or its network under egress to allow it");
}

}  // namespace slipway::net
