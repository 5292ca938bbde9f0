#include "data/engine.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/hash.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::code_of;
using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override { engine_ = open({}); }

  std::unique_ptr<Engine> open(EngineOptions options) {
    options.temp_dir = scratch_.path();
    if (options.threads == 0) options.threads = 2;
    auto engine = Engine::open(options);
    EXPECT_TRUE(ok(engine));
    return std::move(*engine);
  }

  Result<void> add(const std::string& name, const std::string& file, const std::string& bytes,
                   const std::function<void(Source&)>& adjust = {}) {
    auto source = Source::of_file(scratch_.file(file, bytes));
    if (!source) return source.error();
    if (adjust) adjust(*source);
    return engine_->add_source(name, *source);
  }

  Columns rows_of(const std::string& sql) {
    auto table = engine_->query({}, sql);
    EXPECT_TRUE(ok(table)) << sql;
    if (!table) return {};
    auto columns = Columns::from_table(*table);
    EXPECT_TRUE(ok(columns));
    return std::move(*columns);
  }

  std::string failure_of(const std::string& sql) {
    const auto table = engine_->query({}, sql);
    EXPECT_FALSE(table) << sql;
    return table ? "" : std::string(to_string(table.error().code)) + ": " + table.error().message;
  }

  Scratch scratch_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, ReadsCsvInTheFivePlainTypes) {
  ASSERT_TRUE(ok(add("flights", "f.csv",
                     "id,carrier,delay,late,at,day\n"
                     "1,UA,2.5,true,2013-01-01T10:00:00Z,2013-01-01\n"
                     "2,NA,NA,false,2013-01-01T12:00:00+02:00,2013-01-02\n",
                     [](Source& source) { source.null_values = {"NA"}; })));
  const auto columns = rows_of("SELECT * FROM flights");
  const Schema want{{{"id", Type::int64},
                     {"carrier", Type::text},
                     {"delay", Type::float64},
                     {"late", Type::boolean},
                     {"at", Type::timestamp},
                     {"day", Type::timestamp}}};
  EXPECT_EQ(columns.schema(), want);
  const auto batch = columns.batch();
  ASSERT_EQ(batch.rows, 2);
  EXPECT_TRUE(batch.columns[1].is_null(1));
  EXPECT_TRUE(batch.columns[2].is_null(1));
  EXPECT_EQ(batch.columns[4].integer(0), batch.columns[4].integer(1)) << "12:00+02:00 is 10:00 UTC";
  EXPECT_EQ(format_time(from_micros(batch.columns[5].integer(1))), "2013-01-02T00:00:00Z");
}

TEST_F(EngineTest, DeclaredTypesWinOverInferredOnes) {
  ASSERT_TRUE(
      ok(add("x", "x.csv", "code,n,at\n007,1,2013-05-01T02:00:00+02:00\n", [](Source& source) {
        source.types = {{"code", Type::text}, {"n", Type::float64}, {"at", Type::timestamp}};
      })));
  const auto columns = rows_of("SELECT * FROM x");
  EXPECT_EQ(columns.batch().columns[0].text(0), "007");
  EXPECT_EQ(columns.batch().columns[1].real(0), 1.0);
  EXPECT_EQ(format_time(from_micros(columns.batch().columns[2].integer(0))),
            "2013-05-01T00:00:00Z");
}

TEST_F(EngineTest, BringsEveryResultToThePlainTypes) {
  const auto columns = rows_of(
      "SELECT CAST(1 AS UTINYINT) AS a, sum(2) AS b, 1.25 AS c, CAST(0.5 AS FLOAT) AS d, DATE "
      "'2013-01-01' AS e, "
      "TIME '10:00' AS f, [1, 2] AS g, NULL AS h, 'x' AS i");
  const auto& fields = columns.schema().fields;
  const Type want[] = {Type::int64, Type::int64, Type::float64, Type::float64, Type::timestamp,
                       Type::text,  Type::text,  Type::int64,   Type::text};
  ASSERT_EQ(fields.size(), std::size(want));
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == "h") continue;  // a null has no type of its own
    EXPECT_EQ(fields[i].type, want[i]) << fields[i].name;
  }
  EXPECT_EQ(columns.batch().columns[6].text(0), "[1, 2]");
}

TEST_F(EngineTest, JoinsEachRowWithTheLatestBefore) {
  ASSERT_TRUE(
      ok(add("flights", "f.csv", "at\n2013-01-01 10:30\n2013-01-01 12:00\n2013-01-01 09:00\n")));
  ASSERT_TRUE(ok(add("weather", "w.csv", "at,temp\n2013-01-01 10:00,5\n2013-01-01 11:00,6\n")));
  const auto columns = rows_of(
      "SELECT f.at, w.temp FROM flights f ASOF LEFT JOIN weather w ON w.at <= f.at ORDER BY f.at");
  ASSERT_EQ(columns.rows(), 3);
  EXPECT_TRUE(columns.batch().columns[1].is_null(0));
  EXPECT_EQ(columns.batch().columns[1].integer(1), 5);
  EXPECT_EQ(columns.batch().columns[1].integer(2), 6);
}

TEST_F(EngineTest, ReadsGlobsJsonLinesAndItsOwnParquet) {
  scratch_.file("part-1.csv", "a\n1\n");
  scratch_.file("part-2.csv", "a\n2\n");
  Source parts{.kind = Source::Kind::csv, .paths = {(scratch_ / "part-*.csv").string()}};
  ASSERT_TRUE(ok(engine_->add_source("parts", parts)));
  EXPECT_EQ(rows_of("SELECT sum(a) AS s FROM parts").batch().columns[0].integer(0), 3);

  ASSERT_TRUE(ok(add("lines", "l.jsonl", "{\"a\":1,\"b\":\"x\"}\n{\"a\":2}\n")));
  EXPECT_TRUE(rows_of("SELECT * FROM lines ORDER BY a").batch().columns[1].is_null(1));

  const auto file = scratch_ / "out.parquet";
  const auto written = engine_->write_parquet(
      {}, "SELECT a, CAST(a AS TINYINT) AS small FROM parts ORDER BY a", file);
  ASSERT_TRUE(ok(written));
  EXPECT_EQ(*written, 2);
  ASSERT_TRUE(ok(engine_->add_source("back", *Source::of_file(file))));
  EXPECT_EQ(rows_of("SELECT small FROM back").batch().columns[0].integer(1), 2);
}

TEST_F(EngineTest, NamesFileAndLineOfBadFiles) {
  struct Row {
    std::string name;
    std::string bytes;
    std::string want;
  };
  const Row rows[] = {
      {"empty.csv", "", "is empty"},
      {"short.csv", "a,b,c\n1,2,3\n4,5\n6,7,8\n",
       "short.csv:3: the line has 2 fields where the header has 3: 4,5"},
      {"long.csv", "a,b\n1,2\n4,5,6\n", "long.csv:3: the line has 3 fields where the header has 2"},
      {"twice.csv", "a,b,a\n1,2,3\n", "column 'a' stands twice in the header"},
      {"unnamed.csv", "a,,c\n1,2,3\n", "column 2 of the header has no name"},
      {"latin.csv", "a,b\n1,caf\xe9\n", "not utf-8"},
      {"open.csv", "a,b\n1,\"x\n", "unterminated quote"},
      {"bad.jsonl", "{\"a\":1}\n{\"a\":\n", "not a JSON object"},
      {"text.parquet", "hello", "text.parquet"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const auto added = add("x", row.name, row.bytes);
    EXPECT_EQ(code_of(added), "invalid_argument");
    EXPECT_NE(message_of(added).find(row.want), std::string::npos) << message_of(added);
  }
  const auto missing = engine_->add_source("x", *Source::of_file(scratch_ / "none.csv"));
  EXPECT_EQ(code_of(missing), "not_found");
}

TEST_F(EngineTest, NamesColumnLineValueAndTypeOfAWrongValue) {
  ASSERT_TRUE(ok(add("x", "x.csv", "id,v\n1,2\n2,oops\n",
                     [](Source& source) { source.types = {{"v", Type::int64}}; })));
  const auto failed = failure_of("SELECT sum(v) AS s FROM x");
  EXPECT_NE(failed.find("x.csv:3: column 'v' holds 'oops', which is not an int64"),
            std::string::npos)
      << failed;

  ASSERT_TRUE(ok(add("y", "y.csv", "id,seen\n1,2013-01-01\n2,5\n",
                     [](Source& source) { source.types = {{"seen", Type::timestamp}}; })));
  const auto no_time = failure_of("SELECT seen FROM y");
  EXPECT_NE(no_time.find("y.csv:3: column 'seen' holds '5', which is not a time"),
            std::string::npos)
      << no_time;

  const auto unknown = add("z", "z.csv", "id,v\n1,2\n",
                           [](Source& source) { source.types = {{"idd", Type::int64}}; });
  EXPECT_NE(message_of(unknown).find("did you mean 'id'"), std::string::npos);
}

TEST_F(EngineTest, RefusesFilesOfOneSourceWithDifferentHeaders) {
  scratch_.file("p1.csv", "a,b\n1,2\n");
  scratch_.file("p2.csv", "b,a\n1,2\n");
  const auto added = engine_->add_source("p", {.paths = {(scratch_ / "p*.csv").string()}});
  EXPECT_EQ(code_of(added), "invalid_argument");
  EXPECT_NE(message_of(added).find("p2.csv:1: the header differs"), std::string::npos)
      << message_of(added);
}

TEST_F(EngineTest, TellsLineAndColumnOfMistakesInSql) {
  ASSERT_TRUE(ok(add("flights", "f.csv", "carrier,dep_delay\nUA,1\n")));
  const std::pair<const char*, const char*> rows[] = {
      {"SELECT\n  carrier,\n  dep_dely + 1\nFROM flights",
       "SQL, line 3, column 3: column 'dep_dely' does not exist; did you mean 'dep_delay'?"},
      {"SELECT 'é', dep_dely FROM flights", "SQL, line 1, column 13: column 'dep_dely'"},
      {"SELECT * FROM flight",
       "SQL, line 1, column 15: relation 'flight' does not exist; did you mean 'flights'?"},
      {"SELECT sume(dep_delay) FROM flights",
       "function 'sume' does not exist; did you mean 'sum'?"},
      {"SELECT f.dep_dely FROM flights f", "'f' has no column 'dep_dely'"},
      {"SELECT carrier FRO flights", "SQL, line 1, column 20: syntax error"},
      {"SELECT carrier + 1 FROM flights", "no form of '+'"},
      {"SELECT\n CAST(carrier AS INT) AS c FROM flights",
       "SQL, line 2, column 2: Could not convert string 'UA'"},
      {"SELECT 1 AS a, 2 AS a", "column 'a' stands twice"},
      {"SELECT 1; SELECT 2", "2 statements"},
      {"-- nothing", "empty"},
      {"DROP VIEW flights", "a SELECT is wanted"},
      {"SELECT ?", "parameters"},
  };
  for (const auto& [sql, want] : rows) {
    SCOPED_TRACE(sql);
    const auto failed = failure_of(sql);
    EXPECT_NE(failed.find(want), std::string::npos) << failed;
    EXPECT_TRUE(failed.starts_with("invalid_argument")) << failed;
  }
}

TEST_F(EngineTest, AcceptsTrailingSemicolonsAndComments) {
  for (const char* sql :
       {"SELECT 1 AS a;", "SELECT 1 AS a -- one", "SELECT 1 AS a; -- one", "SELECT ';' AS a",
        "/* ; */ SELECT 1 AS a", "VALUES (1)", "WITH x AS (SELECT 1 AS a) SELECT * FROM x"}) {
    EXPECT_TRUE(ok(engine_->query({}, sql))) << sql;
  }
}

TEST_F(EngineTest, KeepsTheOrderOfTheSql) {
  const auto columns =
      rows_of("SELECT CAST(i AS SMALLINT) AS i FROM range(20000) t(i) ORDER BY i DESC");
  for (std::int64_t row = 0; row < columns.rows(); ++row) {
    ASSERT_EQ(columns.batch().columns[0].integer(row), 19999 - row);
  }
}

TEST_F(EngineTest, WritesTheSameParquetBytesWithAnyNumberOfThreads) {
  const std::string sql =
      "SELECT i, i % 97 AS g, hash(i) % 1000 / 7.0 AS x, 'k' || (i % 13) AS k FROM range(400000) "
      "t(i) ORDER BY i";
  std::set<std::string> digests;
  for (const int threads : {1, 2, 4}) {
    auto engine = open({.threads = threads});
    const auto file = scratch_ / fmt::format("t{}.parquet", threads);
    ASSERT_TRUE(ok(engine->write_parquet({}, sql, file)));
    digests.insert(*sha256_file_hex(file));
  }
  EXPECT_EQ(digests.size(), 1U);
}

TEST_F(EngineTest, TakesTablesFromMemory) {
  BatchBuilder builder({{{"k", Type::text},
                         {"at", Type::timestamp},
                         {"odd \"name\"", Type::float64},
                         {"b", Type::boolean}}});
  for (int i = 0; i < 5000; ++i) {
    builder.append_text(0, std::to_string(i % 3));
    builder.append_integer(1, i);
    if (i % 2 == 0)
      builder.append_null(2);
    else
      builder.append_real(2, i);
    builder.append_boolean(3, i % 2 == 0);
  }
  ASSERT_TRUE(ok(engine_->add_table("t", *builder.to_table())));
  ASSERT_TRUE(ok(engine_->add_table("t", *builder.to_table())))
      << "a second one replaces the first";
  const auto columns =
      rows_of("SELECT count(*) AS n, count(\"odd \"\"name\"\"\") AS m, count_if(b) AS b FROM t");
  EXPECT_EQ(columns.batch().columns[0].integer(0), 5000);
  EXPECT_EQ(columns.batch().columns[1].integer(0), 2500);
  EXPECT_EQ(columns.batch().columns[2].integer(0), 2500);
  EXPECT_EQ(*engine_->describe("SELECT * FROM t"), builder.schema());
  EXPECT_EQ(engine_->relations(), std::vector<std::string>{"t"});
}

TEST_F(EngineTest, DescribesWithoutRunning) {
  const auto schema = engine_->describe("SELECT error('ran') AS x, 1 AS y");
  ASSERT_TRUE(ok(schema));
  EXPECT_EQ(schema->names(), (std::vector<std::string>{"x", "y"}));
}

TEST_F(EngineTest, StopsWhenCancelledBeforeAndWhileItRuns) {
  const std::string endless =
      "SELECT count(*) AS n FROM range(1000000000) a, range(1000) b WHERE a.range % 7 = b.range % "
      "5";
  std::stop_source stop;
  Context ctx;
  ctx.stop = stop.get_token();
  std::jthread later([&stop] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop.request_stop();
  });
  EXPECT_TRUE(failed_with(engine_->query(ctx, endless), Code::cancelled));
  EXPECT_TRUE(failed_with(engine_->query(ctx, "SELECT 1 AS a"), Code::cancelled));
  const auto file = scratch_ / "cancelled.parquet";
  EXPECT_TRUE(failed_with(engine_->write_parquet(ctx, "SELECT 1 AS a", file), Code::cancelled));

  SystemClock clock;
  Context late(clock);
  late.deadline = clock.steady() + std::chrono::milliseconds(50);
  EXPECT_TRUE(failed_with(engine_->write_parquet(late, endless, file), Code::deadline_exceeded));
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_TRUE(ok(engine_->query({}, "SELECT 1 AS a"))) << "the engine goes on afterwards";
}

TEST_F(EngineTest, TellsWhenMemoryIsNotEnough) {
  auto engine = open({.memory_limit_mb = 64});
  const auto failed = engine->query({}, "SELECT list(i) AS l FROM range(50000000) t(i)");
  EXPECT_TRUE(failed_with(failed, Code::resource_exhausted));
  EXPECT_NE(message_of(failed).find("memory_limit_mb"), std::string::npos);
}

TEST_F(EngineTest, ReachesOnlyTheAllowedFolders) {
  const Scratch elsewhere;
  const auto secret = elsewhere.file("secret.csv", "a\n1\n");
  const auto mine = scratch_.file("mine.csv", "a\n1\n");
  auto engine = open({.allowed_folders = {scratch_.path()}});
  EXPECT_TRUE(ok(engine->add_source("mine", *Source::of_file(mine))));
  EXPECT_TRUE(
      failed_with(engine->add_source("secret", *Source::of_file(secret)), Code::permission_denied));
  EXPECT_TRUE(failed_with(engine->query({}, "SELECT * FROM read_csv('" + secret.string() + "')"),
                          Code::permission_denied));
  EXPECT_TRUE(failed_with(engine->write_parquet({}, "SELECT 1 AS a", elsewhere / "out.parquet"),
                          Code::permission_denied));
}

TEST_F(EngineTest, AnswersManyThreadsAtOnce) {
  ASSERT_TRUE(ok(add("x", "x.csv", "a\n1\n2\n")));
  std::atomic<int> good = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 20; ++round) {
          const auto table = engine_->query({}, "SELECT sum(a) AS s FROM x");
          if (table && Columns::from_table(*table)->batch().columns[0].integer(0) == 3) ++good;
        }
      });
    }
  }
  EXPECT_EQ(good, 80);
}

TEST(EngineOptions, RefusesNonsense) {
  EXPECT_TRUE(failed_with(Engine::open({.memory_limit_mb = 1}), Code::invalid_argument));
  EXPECT_TRUE(failed_with(Engine::open({.threads = -1}), Code::invalid_argument));
}

}  // namespace
}  // namespace slipway::data
