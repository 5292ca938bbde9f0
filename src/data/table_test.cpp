#include "data/table.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;

Schema all_types() {
  return {{{"flag", Type::boolean},
           {"count", Type::int64},
           {"size", Type::float64},
           {"name", Type::text},
           {"when", Type::timestamp}}};
}

TEST(Schema, FindsColumnsAndNamesTheNearestForAMistake) {
  const Schema schema = all_types();
  EXPECT_EQ(*schema.find("size"), 2U);
  const auto missing = schema.find("sise");
  EXPECT_TRUE(failed_with(missing, Code::invalid_argument));
  EXPECT_NE(message_of(missing).find("did you mean 'size'"), std::string::npos);
}

TEST(Schema, SurvivesJson) {
  Schema schema = all_types();
  schema.fields[1].nullable = false;
  const auto back = Schema::from_json(schema.to_json());
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(*back, schema);
}

TEST(Schema, RefusesWhatIsNoSchema) {
  for (const char* text : {"{}", "[1]", R"([{"name":"a"}])", R"([{"name":"a","type":"int"}])",
                           R"([{"name":"a","type":"int64"},{"name":"a","type":"text"}])",
                           R"([{"name":"a","type":"int64","nullable":3}])"}) {
    SCOPED_TRACE(text);
    EXPECT_TRUE(failed_with(Schema::from_json(Json::parse(text)), Code::invalid_argument));
  }
}

TEST(BatchBuilder, TakesJsonExactlyOrRefusesIt) {
  struct Row {
    const char* column;
    const char* json;
    bool good;
  };
  const Row rows[] = {
      {"flag", "true", true},
      {"flag", "1", false},
      {"flag", "\"true\"", false},
      {"count", "3", true},
      {"count", "3.0", true},
      {"count", "3.5", false},
      {"count", "\"3\"", false},
      {"count", "9223372036854775807", true},
      {"count", "9223372036854775808", false},
      {"count", "1e300", false},
      {"size", "3", true},
      {"size", "3.25", true},
      {"size", "9007199254740993", false},
      {"size", "\"3\"", false},
      {"size", "null", true},
      {"name", "\"JFK\"", true},
      {"name", "7", false},
      {"name", "[\"JFK\"]", false},
      {"when", "\"2013-04-01T05:00:00Z\"", true},
      {"when", "\"2013-04-01\"", true},
      {"when", "1364792400000000", true},
      {"when", "\"soon\"", false},
      {"when", "1.5", false},
  };
  BatchBuilder builder(all_types());
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.column) + " = " + row.json);
    const auto column = *builder.schema().find(row.column);
    const auto before = builder.rows(column);
    const auto appended = builder.append_json(column, Json::parse(row.json));
    EXPECT_EQ(appended.has_value(), row.good);
    EXPECT_EQ(builder.rows(column), before + (row.good ? 1 : 0))
        << "a refused value leaves nothing behind";
    if (!row.good) {
      EXPECT_NE(message_of(appended).find("'" + std::string(row.column) + "'"), std::string::npos);
    }
  }
}

TEST(BatchBuilder, TellsThatColumnsDifferInLength) {
  BatchBuilder builder(all_types());
  builder.append_boolean(0, true);
  EXPECT_TRUE(failed_with(builder.batch(), Code::internal));
}

// Random rows, as the builder was told them.
struct Cell {
  bool null = false;
  std::int64_t integer = 0;
  double real = 0;
  std::string text;
};

std::vector<std::vector<Cell>> random_rows(Rng& rng, const Schema& schema, std::int64_t count) {
  std::vector<std::vector<Cell>> columns(schema.fields.size());
  for (auto& column : columns) {
    const double null_share = rng.below(3) == 0 ? 0.0 : rng.uniform();
    for (std::int64_t row = 0; row < count; ++row) {
      Cell cell{.null = rng.uniform() < null_share};
      cell.integer = static_cast<std::int64_t>(rng());
      cell.real = rng.below(10) == 0 ? std::numeric_limits<double>::infinity() : rng.normal();
      for (std::uint64_t size = rng.below(9); size > 0; --size)
        cell.text += static_cast<char>('a' + rng.below(26));
      column.push_back(cell);
    }
  }
  return columns;
}

void append(BatchBuilder& builder, const std::vector<std::vector<Cell>>& columns) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    for (const auto& cell : columns[i]) {
      if (cell.null) {
        builder.append_null(i);
        continue;
      }
      switch (builder.schema().fields[i].type) {
        case Type::boolean:
          builder.append_boolean(i, (cell.integer & 1) != 0);
          break;
        case Type::int64:
        case Type::timestamp:
          builder.append_integer(i, cell.integer);
          break;
        case Type::float64:
          builder.append_real(i, cell.real);
          break;
        case Type::text:
          builder.append_text(i, cell.text);
          break;
      }
    }
  }
}

void expect_equal(const Batch& batch, const std::vector<std::vector<Cell>>& columns,
                  std::int64_t from = 0) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto& view = batch.columns[i];
    ASSERT_EQ(view.type, batch.schema->fields[i].type);
    for (std::int64_t row = 0; row < batch.rows; ++row) {
      const auto& cell = columns[i][static_cast<std::size_t>(from + row)];
      ASSERT_EQ(view.is_null(row), cell.null);
      if (cell.null) {
        if (view.type != Type::text) {
          ASSERT_TRUE(std::isnan(view.number(row)));
        }
        continue;
      }
      switch (view.type) {
        case Type::boolean:
          ASSERT_EQ(view.boolean(row), (cell.integer & 1) != 0);
          break;
        case Type::int64:
        case Type::timestamp:
          ASSERT_EQ(view.integer(row), cell.integer);
          break;
        case Type::float64:
          ASSERT_EQ(view.real(row), cell.real);
          break;
        case Type::text:
          ASSERT_EQ(view.text(row), cell.text);
          break;
      }
    }
  }
}

TEST(BatchBuilder, GivesBackWhatItTookThroughViewsSlicesAndTables) {
  constexpr std::uint64_t kSeed = 20130401;
  Rng rng(kSeed);
  BatchBuilder builder(all_types());
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", round " + std::to_string(round));
    const auto rows = static_cast<std::int64_t>(rng.below(70));
    const auto columns = random_rows(rng, builder.schema(), rows);
    builder.clear();  // reused: nothing of the round before may shine through
    append(builder, columns);
    const auto batch = builder.batch();
    ASSERT_TRUE(ok(batch));
    ASSERT_EQ(batch->rows, rows);
    expect_equal(*batch, columns);

    const auto begin = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(rows) + 1));
    const auto count =
        static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(rows - begin) + 1));
    expect_equal(batch->slice(begin, count), columns, begin);

    const auto table = builder.to_table();
    ASSERT_TRUE(ok(table));
    const auto copied = Columns::from_table(*table);
    ASSERT_TRUE(ok(copied));
    ASSERT_EQ(copied->schema(), builder.schema());
    expect_equal(copied->batch(), columns);

    const auto twice = concatenate({*table, *table});
    ASSERT_TRUE(ok(twice));
    auto joined = Columns::from_table(*twice);
    ASSERT_TRUE(ok(joined));
    const Columns moved = std::move(*joined);  // views stay good when their owner moves
    ASSERT_EQ(moved.rows(), 2 * rows);
    expect_equal(moved.batch().slice(rows, rows), columns);
  }
}

TEST(Columns, FindsAColumnByName) {
  BatchBuilder builder({{{"size", Type::float64}}});
  builder.append_real(0, 2.5);
  const auto columns = Columns::from_table(*builder.to_table());
  ASSERT_TRUE(ok(columns));
  const auto column = columns->column("size");
  ASSERT_TRUE(ok(column));
  EXPECT_EQ(column->real(0), 2.5);
  EXPECT_TRUE(failed_with(columns->column("sizes"), Code::invalid_argument));
}

TEST(Concatenate, RefusesTablesOfDifferentSchemas) {
  BatchBuilder one({{{"a", Type::float64}}});
  BatchBuilder two({{{"b", Type::float64}}});
  EXPECT_TRUE(failed_with(concatenate({*one.to_table(), *two.to_table()}), Code::invalid_argument));
  EXPECT_TRUE(failed_with(concatenate({}), Code::invalid_argument));
}

}  // namespace
}  // namespace slipway::data
