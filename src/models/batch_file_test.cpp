#include "models/batch_file.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/writer.h>

#include <bit>

#include "base/file.h"
#include "models/parquet_splice_internal.h"
#include "models/servable_internal.h"
#include "models/train_fixture_internal.h"
#include "support/support.h"

namespace slipway::models {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;
using ::testing::HasSubstr;

constexpr std::size_t kCols = 4;

std::shared_ptr<arrow::Table> read_parquet(const std::filesystem::path& path) {
  auto input = arrow::io::ReadableFile::Open(path.string());
  EXPECT_TRUE(input.ok());
  auto reader = parquet::arrow::OpenFile(*input, arrow::default_memory_pool());
  EXPECT_TRUE(reader.ok()) << reader.status().message();
  auto table = (*reader)->ReadTable();
  EXPECT_TRUE(table.ok()) << table.status().message();
  return *(*table)->CombineChunks();
}

class BatchFileTest : public ::testing::Test {
 protected:
  BatchFileTest() {
    const RandomData train = random_data(1, 500, kCols, true);
    model_bytes_ = train_model(train, {{"objective", "binary:logistic"}, {"max_depth", "4"}}, 10);
    data::Schema schema;
    for (std::size_t k = 0; k < kCols; ++k)
      schema.fields.push_back({fmt::format("c{}", k), data::Type::float64, true});
    servable_ =
        make_table_model(schema, std::move(*load_xgboost(model_bytes_)), {{"kind", "test"}});
    rows_ = random_data(2, 100'000, kCols, true);
    write_input(rows_.rows);
  }

  // Columns c0 … and a text that only travels along, in two row groups.
  void write_input(std::size_t rows) {
    arrow::FieldVector fields;
    arrow::ArrayVector arrays;
    for (std::size_t k = 0; k < kCols; ++k) {
      arrow::DoubleBuilder builder;
      for (std::size_t row = 0; row < rows; ++row)
        EXPECT_TRUE(builder.Append(rows_.values[row * kCols + k]).ok());
      fields.push_back(arrow::field(fmt::format("c{}", k), arrow::float64()));
      arrays.push_back(*builder.Finish());
    }
    arrow::StringBuilder names;
    for (std::size_t row = 0; row < rows; ++row)
      EXPECT_TRUE(names.Append(fmt::format("row {}", row)).ok());
    fields.push_back(arrow::field("name", arrow::utf8()));
    arrays.push_back(*names.Finish());
    const auto table = arrow::Table::Make(arrow::schema(fields), arrays);
    auto out = arrow::io::FileOutputStream::Open((scratch_ / "in.parquet").string());
    EXPECT_TRUE(
        parquet::arrow::WriteTable(*table, arrow::default_memory_pool(), *out, 60'000).ok());
    EXPECT_TRUE((*out)->Close().ok());
  }

  BatchFileOptions options(const std::string& output) const {
    return {.input = scratch_ / "in.parquet", .output = scratch_ / output, .model_digest = "m"};
  }

  void expect_right(const std::filesystem::path& path) const {
    const auto table = read_parquet(path);
    ASSERT_EQ(table->num_rows(), static_cast<std::int64_t>(rows_.rows));
    const auto score =
        std::static_pointer_cast<arrow::DoubleArray>(table->GetColumnByName("score")->chunk(0));
    const auto name =
        std::static_pointer_cast<arrow::StringArray>(table->GetColumnByName("name")->chunk(0));
    std::vector<double> want(rows_.rows);
    const auto model = load_xgboost(model_bytes_);
    ASSERT_TRUE(ok((*model)->predict(rows_.values, rows_.rows, want)));
    for (std::size_t row = 0; row < rows_.rows; ++row) {
      const auto at = static_cast<std::int64_t>(row);
      ASSERT_EQ(std::bit_cast<std::uint64_t>(score->Value(at)),
                std::bit_cast<std::uint64_t>(want[row]));
      ASSERT_EQ(name->GetString(at), fmt::format("row {}", row));
    }
  }

  Scratch scratch_;
  std::string model_bytes_;
  ServablePtr servable_;
  RandomData rows_;
};

TEST_F(BatchFileTest, WritesEveryRowWithTheBitsOfTheModel) {
  const auto report = predict_file({}, *servable_, options("out.parquet"));
  ASSERT_TRUE(ok(report));
  EXPECT_EQ(report->rows, 100'000);
  expect_right(scratch_ / "out.parquet");
  for (const char* left : {"out.parquet.partial", "out.parquet.journal", "out.parquet.lock"})
    EXPECT_FALSE(std::filesystem::exists(scratch_ / left)) << left;
}

TEST_F(BatchFileTest, GoesOnWhereACancelledRunStopped) {
  std::stop_source stop;
  Context ctx;
  ctx.stop = stop.get_token();
  BatchFileOptions some = options("out.parquet");
  some.threads = 1;
  const auto cut = predict_file(ctx, *servable_, some, [&](std::int64_t done, std::int64_t all) {
    EXPECT_EQ(all, 100'000);
    if (done > 30'000) stop.request_stop();
  });
  EXPECT_TRUE(failed_with(cut, Code::cancelled));
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "out.parquet"));
  // A torn line, and bytes that no line accounts for: what a kill leaves.
  for (const char* file : {"out.parquet.partial", "out.parquet.journal"}) {
    std::ofstream more(scratch_ / file, std::ios::app | std::ios::binary);
    more << "{\"rows\": 1000, \"en";
  }
  const auto report = predict_file({}, *servable_, some);
  ASSERT_TRUE(ok(report));
  EXPECT_GT(report->resumed_rows, 0);
  EXPECT_EQ(report->rows, 100'000);
  expect_right(scratch_ / "out.parquet");
}

TEST_F(BatchFileTest, BeginsAnewWithAnotherModel) {
  std::stop_source stop;
  Context ctx;
  ctx.stop = stop.get_token();
  const auto cut = predict_file(ctx, *servable_, options("out.parquet"),
                                [&](std::int64_t, std::int64_t) { stop.request_stop(); });
  EXPECT_TRUE(failed_with(cut, Code::cancelled));
  BatchFileOptions other = options("out.parquet");
  other.model_digest = "another";
  const auto report = predict_file({}, *servable_, other);
  ASSERT_TRUE(ok(report));
  EXPECT_EQ(report->resumed_rows, 0);
  expect_right(scratch_ / "out.parquet");
}

TEST_F(BatchFileTest, KeepsColumnsAndExplains) {
  BatchFileOptions some = options("out.parquet");
  some.keep = {"name"};
  some.score = "p";
  some.contributions = true;
  rows_.rows = 1000;
  write_input(1000);
  ASSERT_TRUE(ok(predict_file({}, *servable_, some)));
  const auto table = read_parquet(scratch_ / "out.parquet");
  EXPECT_EQ(table->schema()->field_names(),
            (std::vector<std::string>{"name", "p", "contribution_c0", "contribution_c1",
                                      "contribution_c2", "contribution_c3", "contribution_base"}));
  for (std::int64_t row = 0; row < 1000; ++row) {
    double margin = 0;
    for (int k = 2; k < 7; ++k)
      margin +=
          std::static_pointer_cast<arrow::DoubleArray>(table->column(k)->chunk(0))->Value(row);
    const double p =
        std::static_pointer_cast<arrow::DoubleArray>(table->column(1)->chunk(0))->Value(row);
    ASSERT_NEAR(1 / (1 + std::exp(-margin)), p, 1e-6);
  }
}

TEST_F(BatchFileTest, ReadsAndWritesCsvWithTheSameBits) {
  std::ofstream csv(scratch_ / "in.csv");
  csv << "id,c3,c2,c1,c0\n";
  for (std::size_t row = 0; row < 3000; ++row) {
    csv << "007,";
    for (std::size_t k = kCols; k-- > 0;) {
      const float value = rows_.values[row * kCols + k];
      if (!std::isnan(value)) csv << fmt::format("{}", static_cast<double>(value));
      csv << (k == 0 ? "\n" : ",");
    }
  }
  csv.close();
  BatchFileOptions some = options("out.csv");
  some.input = scratch_ / "in.csv";
  const auto report = predict_file({}, *servable_, some);
  ASSERT_TRUE(ok(report));
  EXPECT_EQ(report->rows, 3000);
  std::ifstream out(scratch_ / "out.csv");
  std::string line;
  std::getline(out, line);
  EXPECT_THAT(line, HasSubstr("score"));
  std::vector<double> want(3000);
  const auto model = load_xgboost(model_bytes_);
  ASSERT_TRUE(ok((*model)->predict(std::span(rows_.values).first(3000 * kCols), 3000, want)));
  for (std::size_t row = 0; row < 3000; ++row) {
    ASSERT_TRUE(std::getline(out, line));
    ASSERT_TRUE(line.starts_with("007,") || line.starts_with("\"007\",")) << line;
    ASSERT_EQ(std::strtod(line.c_str() + line.rfind(',') + 1, nullptr), want[row]) << line;
  }
}

TEST_F(BatchFileTest, MakesAFileOfNoRowsFromOne) {
  rows_.rows = 0;
  write_input(0);
  const auto report = predict_file({}, *servable_, options("out.parquet"));
  ASSERT_TRUE(ok(report));
  EXPECT_EQ(report->rows, 0);
  EXPECT_EQ(read_parquet(scratch_ / "out.parquet")->num_rows(), 0);
}

TEST_F(BatchFileTest, SaysWhatIsWrongBeforeItWrites) {
  const auto with = [&](auto change) {
    BatchFileOptions some = options("out.parquet");
    change(some);
    return predict_file({}, *servable_, some);
  };
  EXPECT_TRUE(
      failed_with(with([&](auto& o) { o.input = scratch_ / "none.parquet"; }), Code::not_found));
  EXPECT_TRUE(
      failed_with(with([&](auto& o) { o.output = scratch_ / "out.txt"; }), Code::invalid_argument));
  EXPECT_TRUE(failed_with(with([&](auto& o) { o.output = o.input; }), Code::invalid_argument));
  EXPECT_THAT(message_of(with([&](auto& o) { o.keep = {"nome"}; })), HasSubstr("nome"));
  EXPECT_THAT(message_of(with([&](auto& o) { o.score = "name"; })), HasSubstr("--score"));
  std::ofstream(scratch_ / "bad.parquet") << "this is no Parquet file";
  EXPECT_TRUE(failed_with(with([&](auto& o) { o.input = scratch_ / "bad.parquet"; }),
                          Code::invalid_argument));
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "out.parquet.partial"));
}

TEST_F(BatchFileTest, SplicingSurvivesAnyDamage) {
  const std::string good = *read_file(scratch_ / "in.parquet");
  const auto whole = split_parquet(good);
  ASSERT_TRUE(ok(whole));
  EXPECT_EQ(whole->row_groups.size(), 2U);
  Rng rng(3);
  for (int i = 0; i < 3000; ++i) {
    std::string bad = good.substr(good.size() - 3000);
    bad.replace(0, 4, "PAR1");
    for (std::uint64_t n = 1 + rng.below(5); n > 0; --n)
      bad[rng.below(bad.size())] = static_cast<char>(rng.below(256));
    const auto part = split_parquet(bad);
    if (part && !part->row_groups.empty()) (void)shifted(part->row_groups[0], 1000);
  }
}

}  // namespace
}  // namespace slipway::models
