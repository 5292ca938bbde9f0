#include "api/status_map.h"

#include <gtest/gtest.h>

namespace slipway::api {
namespace {

TEST(StatusMap, HasExactlyOneRowForEveryCode) {
  for (const Code code : kAllCodes) {
    SCOPED_TRACE(to_string(code));
    EXPECT_EQ(std::ranges::count(all_statuses(), code, &Status::code), 1);
    EXPECT_EQ(status_of(code).code, code);
  }
  EXPECT_EQ(all_statuses().size(), std::size(kAllCodes));
}

TEST(StatusMap, EveryRowIsAFailureInEveryProtocol) {
  for (const auto& status : all_statuses()) {
    SCOPED_TRACE(to_string(status.code));
    EXPECT_GE(status.http, 400);
    EXPECT_GE(status.mlflow_http, 400);
    EXPECT_GT(status.grpc, 0);
    EXPECT_LE(status.grpc, 16);
    EXPECT_FALSE(status.grpc_name.empty());
    EXPECT_FALSE(status.mlflow.empty());
    EXPECT_NE(status.exit, 0);
    EXPECT_NE(status.exit, kExitAnswerIsNo);
  }
}

TEST(StatusMap, SaysWhatClientsExpect) {
  EXPECT_EQ(status_of(Code::not_found).http, 404);
  EXPECT_EQ(status_of(Code::not_found).mlflow, "RESOURCE_DOES_NOT_EXIST");
  EXPECT_EQ(status_of(Code::already_exists).http, 409);
  EXPECT_EQ(status_of(Code::already_exists).mlflow_http, 400);
  EXPECT_EQ(status_of(Code::cancelled).exit, 130);
}

}  // namespace
}  // namespace slipway::api
