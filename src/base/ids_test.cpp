#include "base/ids.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

namespace slipway {
namespace {

TEST(RandomIds, NeverComeTwice) {
  RandomIds ids;
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = ids.next();
    EXPECT_EQ(id.size(), 32U);
    EXPECT_TRUE(seen.insert(id).second);
  }
}

TEST(RandomIds, DifferInAChildProcess) {
  RandomIds ids;
  (void)ids.next();  // draws for later
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string id = ids.next();
    const bool written = ::write(ends[1], id.data(), id.size()) == 32;
    ::_exit(written ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  std::string theirs(32, ' ');
  ASSERT_EQ(::read(ends[0], theirs.data(), theirs.size()), 32);
  EXPECT_NE(ids.next(), theirs);
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace slipway
