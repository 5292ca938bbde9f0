#include "models/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cstdlib>
#include <new>

#include "base/file.h"
#include "base/hash.h"
#include "base/spec.h"
#include "models/train_fixture_internal.h"
#include "support/odd_rows.h"
#include "support/support.h"

// Counts this program's allocations on the current thread, to prove that serving makes none.
namespace {
thread_local std::size_t allocations = 0;
}
// NOLINTBEGIN(misc-new-delete-overloads): replaced for the whole program, with malloc behind them.
void* operator new(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
// NOLINTEND(misc-new-delete-overloads)

namespace slipway::models {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;
using ::testing::HasSubstr;

const char* const kSpec = R"([
  {"columns": ["temp", "gust"], "apply": [{"impute": {"strategy": "median", "indicator": true}},
   {"clip": {"low_quantile": 0.01, "high_quantile": 0.99}}, "standardize"]},
  {"columns": "dist", "apply": ["passthrough"]},
  {"columns": "carrier", "apply": [{"onehot": {"min_share": 0.02}}]},
  {"columns": "tail", "apply": [{"target_encode": {"smoothing": 10}}]},
  {"columns": "when", "apply": [{"datetime": {"parts": ["dow", "month"], "cyclical": ["hour"]}}]},
  {"columns": "holiday", "apply": ["ordinal"]}
])";

class BundleTest : public ::testing::Test {
 protected:
  BundleTest() : rows_(test::odd_schema()), fitted_(fit()) {
    RandomData data{kRows, fitted_.pipeline.outputs().size(), fitted_.matrix, {}};
    for (const double label : target_) data.labels.push_back(static_cast<float>(label));
    model_ = train_model(data, {{"objective", "binary:logistic"}, {"max_depth", "5"}}, 60);
    batch_ = *rows_.batch();
  }

  features::Fitted fit() {
    Rng rng(21);
    test::append_odd_rows(rows_, rng, kRows);
    for (std::size_t i = 0; i < kRows; ++i) target_.push_back(rng.uniform() < 0.3 ? 1 : 0);
    const auto spec = features::PipelineSpec::from_json(*parse_json(kSpec));
    EXPECT_TRUE(ok(spec));
    auto fitted =
        features::Pipeline::fit_transform({}, *spec, *rows_.batch(), target_, {.seed = 5});
    EXPECT_TRUE(ok(fitted));
    return std::move(*fitted);
  }

  BundleParts parts() const {
    return {.name = "late",
            .model_uuid = "0123456789abcdef0123456789abcdef",
            .run_id = "fedcba9876543210fedcba9876543210",
            .created = test::kNoon2013,
            .target = "late",
            .kind = "xgboost",
            .model = model_,
            .pipeline = fitted_.pipeline,
            .sample = &batch_,
            .reference_profile = {{"rows", kRows}},
            .metrics = {{"auc", 0.7}},
            .provenance = {{"dataset", "flights@1"}}};
  }

  static constexpr std::size_t kRows = 4000;
  data::BatchBuilder rows_;
  std::vector<double> target_;
  features::Fitted fitted_;
  std::string model_;
  data::Batch batch_;
  Scratch scratch_;
};

TEST_F(BundleTest, ServesFromRawColumnsWhatItWasTrainedOn) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  const auto bundle = Bundle::load(folder);
  ASSERT_TRUE(ok(bundle));
  EXPECT_EQ(bundle->inputs(), fitted_.pipeline.inputs());
  EXPECT_EQ(bundle->metadata()["name"], "late");
  EXPECT_EQ(bundle->metadata()["run_id"], "fedcba9876543210fedcba9876543210");
  EXPECT_EQ(bundle->metadata()["utc_time_created"], "2013-04-01 12:00:00.000000");
  EXPECT_EQ(bundle->metrics()["auc"], 0.7);
  EXPECT_EQ(bundle->provenance()["dataset"], "flights@1");
  EXPECT_TRUE(bundle->is_classifier());

  std::vector<double> whole(kRows);
  ASSERT_TRUE(ok(bundle->predict(batch_, whole, 1)));
  std::vector<double> again(kRows);
  for (const int threads : {2, 5}) {
    ASSERT_TRUE(ok(bundle->predict(batch_, again, threads)));
    EXPECT_EQ(std::memcmp(whole.data(), again.data(), kRows * sizeof(double)), 0);
  }
  for (std::size_t row = 0; row < kRows; ++row) {
    double one = 0;
    ASSERT_TRUE(
        ok(bundle->predict(batch_.slice(static_cast<std::int64_t>(row), 1), std::span(&one, 1))));
    ASSERT_EQ(std::bit_cast<std::uint64_t>(one), std::bit_cast<std::uint64_t>(whole[row]))
        << "row " << row;
  }
}

TEST_F(BundleTest, PredictsFromManyThreadsAtOnce) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  const auto bundle = Bundle::load(folder);
  ASSERT_TRUE(ok(bundle));
  std::vector<double> whole(kRows);
  ASSERT_TRUE(ok(bundle->predict(batch_, whole, 1)));
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t row = t; row < kRows; row += 7) {
        double one = 0;
        const auto done =
            bundle->predict(batch_.slice(static_cast<std::int64_t>(row), 1), std::span(&one, 1));
        wrong += !done || one != whole[row] ? 1 : 0;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST_F(BundleTest, AllocatesNothingOncePredictionsRun) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  const auto bundle = Bundle::load(folder);
  ASSERT_TRUE(ok(bundle));
  const data::Batch some = batch_.slice(0, 100);
  const data::Batch one = batch_.slice(7, 1);
  std::vector<double> scores(100);
  ASSERT_TRUE(ok(bundle->predict(some, scores)));
  const std::size_t before = allocations;
  for (int i = 0; i < 50; ++i) {
    (void)bundle->predict(some, scores);
    (void)bundle->predict(one, std::span(scores).first(1));
  }
  EXPECT_EQ(allocations - before, 0U);
}

TEST_F(BundleTest, IsNeverOverwrittenNorHalfThere) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  EXPECT_TRUE(failed_with(write_bundle(folder, parts()), Code::already_exists));
  BundleParts bad = parts();
  bad.model = "{}";
  EXPECT_FALSE(ok(write_bundle(scratch_ / "bad", bad)));
  BundleParts none = parts();
  none.sample = nullptr;
  EXPECT_TRUE(failed_with(write_bundle(scratch_ / "bad", none), Code::invalid_argument));
  BundleParts other = parts();
  other.model = train_model(random_data(1, 300, 4, true), {{"objective", "binary:logistic"}}, 2);
  EXPECT_TRUE(failed_with(write_bundle(scratch_ / "bad", other), Code::invalid_argument));
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "bad"));
  // Nothing but the one bundle is left behind.
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(scratch_.path()))
    ++entries;
  EXPECT_EQ(entries, 1U);
}

TEST_F(BundleTest, RefusesChangedFilesByName) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  for (const char* name : {"model.ubj", "features.json", "certificate.json", "metrics.json"}) {
    SCOPED_TRACE(name);
    const std::string good = *read_file(folder / name);
    std::string bad = good;
    bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 1);
    ASSERT_TRUE(ok(write_file_atomic(folder / name, bad)));
    const auto bundle = Bundle::load(folder);
    EXPECT_TRUE(failed_with(bundle, Code::data_loss));
    EXPECT_THAT(message_of(bundle), HasSubstr(name));
    std::filesystem::remove(folder / name);
    EXPECT_TRUE(failed_with(Bundle::load(folder), Code::data_loss));
    ASSERT_TRUE(ok(write_file_atomic(folder / name, good)));
  }
  ASSERT_TRUE(ok(Bundle::load(folder)));
  EXPECT_TRUE(failed_with(Bundle::load(scratch_ / "nowhere"), Code::not_found));
}

// Puts other bytes into a bundle and makes MLmodel agree with them: what a careless copy, or
// another program version, does.
class SkewTest : public BundleTest {
 protected:
  void replace(const std::filesystem::path& folder, const std::string& name,
               const std::string& bytes) {
    const std::string was = sha256_hex(*read_file(folder / name));
    std::string description = *read_file(folder / "MLmodel");
    std::size_t found = 0;
    for (auto at = description.find(was); at != std::string::npos;
         at = description.find(was, at + 1)) {
      description.replace(at, was.size(), sha256_hex(bytes));
      ++found;
    }
    ASSERT_GT(found, 0U);
    ASSERT_TRUE(ok(write_file_atomic(folder / "MLmodel", description)));
    ASSERT_TRUE(ok(write_file_atomic(folder / name, bytes)));
  }
};

TEST_F(SkewTest, NamesTheFeatureThatDiffersFromTraining) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  Json json = *parse_json(*read_file(folder / "features.json"));
  for (Json& chain : json["chains"]) {
    if (chain["column"] != "gust") continue;
    for (Json& stage : chain["stages"]) {
      if (stage["op"] == "standardize")
        stage["mean"][0] = stage["mean"][0].get<double>() * (1 + 1e-6);
    }
  }
  replace(folder, "features.json", canonical(json));
  const auto bundle = Bundle::load(folder);
  EXPECT_TRUE(failed_with(bundle, Code::data_loss));
  EXPECT_THAT(message_of(bundle), HasSubstr("skew: feature 'gust'"));
}

TEST_F(SkewTest, NamesTheScoreThatDiffersFromTraining) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  RandomData data{kRows, fitted_.pipeline.outputs().size(), fitted_.matrix, {}};
  for (const double label : target_) data.labels.push_back(static_cast<float>(label));
  data.labels[0] = 1 - data.labels[0];
  replace(folder, "model.ubj",
          train_model(data, {{"objective", "binary:logistic"}, {"max_depth", "5"}}, 60));
  const auto bundle = Bundle::load(folder);
  EXPECT_TRUE(failed_with(bundle, Code::data_loss));
  EXPECT_THAT(message_of(bundle), HasSubstr("skew: the score of training row"));
}

TEST_F(BundleTest, SurvivesAnyDamageToItsDescription) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  const std::string good = *read_file(folder / "MLmodel");
  Rng rng(31);
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    if (rng.below(3) == 0) bad.resize(rng.below(bad.size()));
    for (std::uint64_t n = rng.below(4); n > 0 && !bad.empty(); --n)
      bad[rng.below(bad.size())] = static_cast<char>(rng.below(256));
    ASSERT_TRUE(ok(write_file_atomic(folder / "MLmodel", bad)));
    (void)Bundle::load(folder);
  }
  std::string outside = good;
  const std::string name = "\"model.ubj\"";
  for (auto at = outside.find(name); at != std::string::npos; at = outside.find(name, at + 1)) {
    outside.replace(at, name.size(), "\"../secret\"");
  }
  ASSERT_TRUE(ok(write_file_atomic(folder / "MLmodel", outside)));
  EXPECT_THAT(message_of(Bundle::load(folder)), HasSubstr("no plain name"));
}

TEST_F(BundleTest, DescribesItselfInMlflowsForm) {
  const auto folder = scratch_ / "bundle";
  ASSERT_TRUE(ok(write_bundle(folder, parts())));
  const auto document = SpecDocument::parse(*read_file(folder / "MLmodel"), "MLmodel");
  ASSERT_TRUE(ok(document));
  const Json& root = document->root();
  EXPECT_EQ(root["model_uuid"], "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(root["flavors"]["xgboost"]["data"], "model.ubj");
  const Json inputs = *parse_json(root["signature"]["inputs"].get<std::string>());
  ASSERT_EQ(inputs.size(), 7U);
  EXPECT_EQ(inputs[0], (Json{{"name", "temp"}, {"type", "double"}, {"required", false}}));
  EXPECT_EQ(inputs[2]["type"], "string");
  const Json example = *parse_json(*read_file(folder / "input_example.json"));
  EXPECT_EQ(example["columns"].size(), 7U);
  EXPECT_EQ(example["data"].size(), 5U);
}

}  // namespace
}  // namespace slipway::models
