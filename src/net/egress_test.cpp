#include "net/egress.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::net {
namespace {

using test::code_of;
using test::ok;

EgressPolicy policy(const std::vector<std::string>& entries) {
  auto parsed = EgressPolicy::parse(entries);
  EXPECT_TRUE(ok(parsed));
  return parsed ? *parsed : EgressPolicy();
}

TEST(Address, IsPublicOrNot) {
  for (const char* text : {"8.8.8.8", "1.1.1.1", "172.32.0.1", "172.15.255.255", "192.167.1.1",
                           "11.0.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1",
                           "64:ff9b::808:808", "100.63.255.255", "100.128.0.0"}) {
    const auto address = parse_address(text);
    ASSERT_TRUE(ok(address)) << text;
    EXPECT_TRUE(is_public(*address)) << text;
  }
  for (const char* text : {"127.0.0.1",
                           "127.255.0.1",
                           "0.0.0.0",
                           "10.1.2.3",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.1.1",
                           "169.254.169.254",
                           "100.64.0.1",
                           "224.0.0.1",
                           "255.255.255.255",
                           "198.18.0.1",
                           "192.0.2.1",
                           "::",
                           "::1",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "fe80::1",
                           "fc00::1",
                           "fd12::1",
                           "ff02::1",
                           "2001:db8::1",
                           "2002:7f00:1::",
                           "64:ff9b::7f00:1",
                           "2001::1",
                           "100::1"}) {
    const auto address = parse_address(text);
    ASSERT_TRUE(ok(address)) << text;
    EXPECT_FALSE(is_public(*address)) << text;
  }
  EXPECT_EQ(to_string(*parse_address("::ffff:10.0.0.1")), "10.0.0.1");
  EXPECT_EQ(to_string(*parse_address("[fd00::1]")), "fd00::1");
  for (const char* text : {"", "localhost", "1.2.3", "1.2.3.4.5", "0x7f000001", "::g"}) {
    EXPECT_EQ(code_of(parse_address(text)), "invalid_argument") << text;
  }
}

TEST(EgressPolicy, DecidesByTable) {
  struct Row {
    std::vector<std::string> entries;
    std::string host;
    int port;
    std::string address;  // what the name resolves to
    bool allowed;
  };
  const std::vector<Row> rows = {
      {{}, "example.org", 443, "93.184.216.34", false},
      {{"example.org"}, "example.org", 443, "93.184.216.34", true},
      {{"example.org"}, "EXAMPLE.org.", 443, "93.184.216.34", true},
      {{"example.org"}, "www.example.org", 443, "93.184.216.34", false},
      {{"example.org"}, "example.org.evil.net", 443, "93.184.216.34", false},
      {{"example.org:443"}, "example.org", 80, "93.184.216.34", false},
      {{"*.example.org"}, "a.b.example.org", 80, "93.184.216.34", true},
      {{"*.example.org"}, "example.org", 80, "93.184.216.34", false},
      {{"*.example.org"}, "badexample.org", 80, "93.184.216.34", false},
      {{"public"}, "any.net", 80, "93.184.216.34", true},
      {{"public"}, "93.184.216.34", 80, "93.184.216.34", true},
      {{"public"}, "127.0.0.1", 80, "127.0.0.1", false},
      // The name is allowed, and suddenly points inside.
      {{"public"}, "rebind.net", 80, "127.0.0.1", false},
      {{"example.org"}, "example.org", 443, "169.254.169.254", false},
      {{"example.org", "localhost"}, "example.org", 443, "127.0.0.1", false},
      {{"example.org"}, "example.org", 443, "::ffff:10.0.0.1", false},
      {{"example.org"}, "example.org", 443, "64:ff9b::a00:1", false},
      // Inside by intent.
      {{"hook.internal", "10.0.0.0/8"}, "hook.internal", 80, "10.9.8.7", true},
      {{"hook.internal", "10.0.0.0/8:8080"}, "hook.internal", 80, "10.9.8.7", false},
      {{"10.0.0.0/8"}, "10.9.8.7", 80, "10.9.8.7", true},
      {{"10.0.0.0/8"}, "11.9.8.7", 80, "11.9.8.7", false},
      {{"192.168.1.7"}, "192.168.1.7", 80, "192.168.1.7", true},
      {{"192.168.1.7"}, "192.168.1.8", 80, "192.168.1.8", false},
      {{"[fd00::]/8:9000"}, "[fd00::7]", 9000, "fd00::7", true},
      {{"[fd00::]/8"}, "fd12::7", 9000, "fd12::7", true},
      {{"localhost"}, "localhost", 80, "127.0.0.1", true},
      {{"localhost"}, "localhost", 80, "::1", true},
      {{"localhost"}, "127.0.0.1", 80, "127.0.0.1", true},
      {{"localhost:9000"}, "localhost", 80, "127.0.0.1", false},
      {{"localhost"}, "localhost", 80, "10.0.0.1", false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE((row.entries.empty() ? "" : row.entries.front()) + " " + row.host + " -> " +
                 row.address);
    const EgressPolicy checked = policy(row.entries);
    const bool allowed =
        checked.check_host(row.host, row.port).has_value() &&
        checked.check_address(row.host, *parse_address(row.address), row.port).has_value();
    EXPECT_EQ(allowed, row.allowed);
  }
}

TEST(EgressPolicy, RefusesEntriesItCannotRead) {
  for (const char* entry :
       {"", "a b", "example.org:0", "example.org:x", "example.org:99999", "http://example.org",
        "10.0.0.0/33", "10.0.0.0/x", "*.", "*.*.org", "a..b", ".org", "fd00::1:80"}) {
    EXPECT_EQ(code_of(EgressPolicy::parse({entry})), "invalid_argument") << entry;
  }
}

}  // namespace
}  // namespace slipway::net
