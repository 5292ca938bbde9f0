#include <gtest/gtest.h>

#include "registry/registry_internal.h"
#include "support/support.h"

namespace slipway::registry {
namespace {

using test::code_of;
using test::ok;

const std::string kDigest(64, 'a');

TEST(Source, WhatIsKeptHereOrAllowedIsTaken) {
  const std::vector<std::string> allowed = {"s3://bucket/models", "gs://other/"};
  for (const std::string source :
       {"runs:/abc/model", "runs:/abc", "models:/m-1", "models:/late/3", "models:/late@champion",
        "mlflow-artifacts:/1/abc/artifacts/model", "mlflow-artifacts:/1/a b/%C3%BC",
        "s3://bucket/models", "s3://bucket/models/late/3", "gs://other/x"}) {
    EXPECT_TRUE(ok(check_source({.source = source}, allowed))) << source;
  }
  EXPECT_TRUE(ok(check_source({.source = "slipway:/bundles/" + kDigest, .digest = kDigest}, {})));
}

TEST(Source, EverythingElseIsRefused) {
  const std::vector<std::string> allowed = {"s3://bucket/models"};
  for (const std::string source : {"",
                                   "model",
                                   "/etc/passwd",
                                   "file:///etc/passwd",
                                   "http://example.org/",
                                   "s3://bucket/modelsX",
                                   "s3://bucket",
                                   "s3://bucket/models/../x",
                                   "s3://bucket/models/%2e%2e/x",
                                   "runs:/",
                                   "runs:",
                                   "runs://host/x",
                                   "RUNS:/x",
                                   "runs:/a/../b",
                                   "runs:/a/%252e%252e/b",
                                   "runs:/a?b",
                                   "runs:/a#b",
                                   "runs:/a%23b",
                                   "runs:/a\\b",
                                   "runs:/a\nb",
                                   "mlflow-artifacts://host/x",
                                   "dummy-source",
                                   "slipway:/bundles/x"}) {
    EXPECT_EQ(code_of(check_source({.source = source}, allowed)), "invalid_argument") << source;
  }
  // A bundle's own name, for another bundle.
  EXPECT_EQ(code_of(check_source(
                {.source = "slipway:/bundles/" + std::string(64, 'b'), .digest = kDigest}, {})),
            "invalid_argument");
}

TEST(Source, TheMarkOfAPromptAllowsItsPlaceholdersAndNothingElse) {
  const Tags prompt = {{std::string(kPromptTag), "True"}};
  EXPECT_TRUE(ok(check_source({.source = "dummy-source", .tags = prompt}, {})));
  EXPECT_TRUE(ok(check_source({.source = "prompt-template", .tags = prompt}, {})));
  for (const std::string source :
       {"/etc/passwd", "file:///etc", "runs:/abc/model", "dummy-source2"}) {
    EXPECT_EQ(code_of(check_source({.source = source, .tags = prompt}, {})), "invalid_argument")
        << source;
  }
}

TEST(Source, AnAllowedPrefixIsASchemeAndAPlace) {
  EXPECT_TRUE(ok(check_source_prefix("s3://bucket/models")));
  for (const std::string prefix :
       {"", "/models", "file:///models", "s3", "s3:", "C:/x", "s3://a/../b"}) {
    EXPECT_EQ(code_of(check_source_prefix(prefix)), "invalid_argument") << prefix;
  }
}

}  // namespace
}  // namespace slipway::registry
