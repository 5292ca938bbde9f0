// What a test cannot go on without, opened in one line:
//   db_ = test::opened(db::Database::open(test::database_at(scratch_ / "slipway.db"), {}));
// An error ends the test: GoogleTest reports what is thrown as the test's failure.
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

#include "base/result.h"

namespace slipway::test {

template <class T>
T opened(Result<T> result) {
  if (!result) {
    throw std::runtime_error(std::string(to_string(result.error().code)) + ": " +
                             result.error().message);
  }
  return *std::move(result);
}

}  // namespace slipway::test
