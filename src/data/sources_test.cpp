// Every kind of source that this machine can have without a server, and files as people really have
// them. What needs a server is in tests/compat/test_sources.py.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <zlib.h>

#include <fstream>

#include "data/engine.h"
#include "support/support.h"

namespace slipway::data {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;

class SourcesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::open({.memory_limit_mb = 256, .threads = 2, .temp_dir = scratch_.path()});
    ASSERT_TRUE(ok(engine));
    engine_ = std::move(*engine);
  }
  // The declaration as it stands in a pipeline file.
  Result<AddedSource> add(const std::string& yaml) {
    const auto doc = SpecDocument::parse(yaml, "s.yaml");
    if (!doc) return doc.error();
    SpecReader reader(*doc);
    const auto source = Source::read(reader, scratch_.path());
    if (auto sound = reader.finish(); !sound) return sound.error();
    return engine_->add_source(ctx_, "t", source);
  }
  Result<AddedSource> add_csv(std::string_view bytes, const std::string& options = "") {
    scratch_.file("x.csv", bytes);
    return add("path: x.csv\n" + options);
  }
  // All rows as text, a row per line, columns separated by '|'; null as "~".
  std::string rows(const std::string& sql = "SELECT * FROM t") {
    const auto table = engine_->query(ctx_, sql);
    if (!table) return "error: " + table.error().message;
    const auto columns = Columns::from_table(*table);
    const Batch batch = columns->batch();
    std::string text;
    for (std::int64_t row = 0; row < batch.rows; ++row) {
      for (std::size_t i = 0; i < batch.columns.size(); ++i) {
        const auto& view = batch.columns[i];
        if (i > 0) text += "|";
        if (view.is_null(row)) {
          text += "~";
        } else if (view.type == Type::text) {
          text += view.text(row);
        } else if (view.type == Type::float64) {
          text += fmt::format("{}", view.real(row));
        } else if (view.type == Type::boolean) {
          text += view.boolean(row) ? "true" : "false";
        } else if (view.type == Type::timestamp) {
          text += format_time(from_micros(view.integer(row)));
        } else {
          text += std::to_string(view.integer(row));
        }
      }
      text += "\n";
    }
    return text;
  }
  std::string types() {
    const auto schema = engine_->describe("SELECT * FROM t");
    if (!schema) return "error: " + schema.error().message;
    std::string text;
    for (const auto& field : schema->fields)
      text += (text.empty() ? "" : " ") + std::string(to_string(field.type));
    return text;
  }
  void gzip(const std::string& name, std::string_view bytes, int times = 1) {
    gzFile out = ::gzopen((scratch_ / name).c_str(), "wb9");
    for (int i = 0; i < times; ++i)
      ::gzwrite(out, bytes.data(), static_cast<unsigned>(bytes.size()));
    ::gzclose(out);
  }

  Scratch scratch_;
  Context ctx_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(SourcesTest, FindsTheDialectOfACsvFile) {
  const struct {
    const char *name, *bytes, *options, *want;
  } files[] = {
      {"semicolons", "a;b\n1;\"x;y\"\n2;z\n", "", "1|x;y\n2|z\n"},
      {"tabs", "a\tb\n1\tx\n", "", "1|x\n"},
      {"bars", "a|b\n1|x\n", "", "1|x\n"},
      {"decimal commas", "a;b\n1,5;x\n", "decimal: ','", "1.5|x\n"},
      {"single quotes", "a,b\n1,'x,y'\n2,'z'\n", "", "1|x,y\n2|z\n"},
      {"escaped by backslash", "a,b\n1,\"x\\\"y\"\n", "escape: '\\'", "1|x\"y\n"},
      {"no header", "1,x\n2,y\n", "header: false", "1|x\n2|y\n"},
      {"lines before the header", "made by hand\n\na,b\n1,x\n", "skip: 2", "1|x\n"},
      {"comments", "a,b\n#nothing\n1,x\n", "comment: '#'", "1|x\n"},
      {"byte order mark",
       "\xef\xbb\xbf"
       "a,b\n1,x\n",
       "", "1|x\n"},
      {"Windows lines", "a,b\r\n1,x\r\n", "", "1|x\n"},
      {"one column", "a\n1\n2\n", "", "1\n2\n"},
      {"Latin 1", "a,b\n1,caf\xe9\n", "encoding: latin-1", "1|café\n"},
      {"line breaks in quotes", "a,b\n1,\"x\ny\"\n", "", "1|x\ny\n"},
  };
  for (const auto& file : files) {
    SCOPED_TRACE(file.name);
    const auto added = add_csv(file.bytes, file.options);
    EXPECT_TRUE(ok(added)) << message_of(added);
    EXPECT_EQ(rows(), file.want);
  }
}

TEST_F(SourcesTest, ReadsUtf16ByItsMark) {
  std::string bytes = "\xff\xfe";
  for (const char c : std::string("a,b\n1,x\n")) bytes += std::string{c, '\0'};
  ASSERT_TRUE(ok(add_csv(bytes)));
  EXPECT_EQ(rows(), "1|x\n");
}

TEST_F(SourcesTest, TakesNoDigitAway) {
  ASSERT_TRUE(
      ok(add_csv("zip,order,big,n,x\n00501,12345678901234567890,9007199254740993,0,0.5\n"
                 "10001,22345678901234567891,9223372036854775807,-7,0.25\n")));
  EXPECT_EQ(types(), "text text int64 int64 float64");
  EXPECT_EQ(rows(),
            "00501|12345678901234567890|9007199254740993|0|0.5\n"
            "10001|22345678901234567891|9223372036854775807|-7|0.25\n");
}

TEST_F(SourcesTest, TellsNullFromNanFromEmpty) {
  ASSERT_TRUE(ok(add_csv("x,s\nnan,\"\"\n,\n1.5,a\n")));
  EXPECT_EQ(rows("SELECT isnan(x) AS nan, x IS NULL AS gone FROM t"),
            "true|false\n~|true\nfalse|false\n");
  ASSERT_TRUE(ok(add_csv("x,n\n1,\n2,\n")));
  EXPECT_EQ(rows(), "1|~\n2|~\n") << "a column without values";
}

TEST_F(SourcesTest, KeepsAFileWithoutRows) {
  ASSERT_TRUE(ok(add_csv("a,b\n")));
  EXPECT_EQ(rows(), "");
  EXPECT_EQ(types(), "text text");
}

TEST_F(SourcesTest, TakesTimesOfAZoneAndRefusesThoseThatNeverWere) {
  const std::string zone = "time_zone: America/New_York\ntypes: {at: timestamp}\n";
  ASSERT_TRUE(ok(
      add_csv("at\n2013-01-05 05:00\n2013-07-05 05:00\n2013-07-05T05:00:00Z\n2013-07-05\n", zone)));
  EXPECT_EQ(rows(),
            "2013-01-05T10:00:00Z\n2013-07-05T09:00:00Z\n2013-07-05T05:00:00Z\n"
            "2013-07-05T04:00:00Z\n");
  ASSERT_TRUE(ok(add_csv("at\n2013-03-10 02:30\n", zone)));
  EXPECT_NE(rows().find("does not exist in America/New_York"), std::string::npos) << rows();
  ASSERT_TRUE(ok(add_csv("at\n2013-11-03 01:30\n", zone)));
  EXPECT_EQ(rows(), "2013-11-03T06:30:00Z\n") << "shown twice: the later";
}

TEST_F(SourcesTest, RefusesDatesThatAreNone) {
  const struct {
    const char *value, *want;
  } values[] = {{"2013-02-30", "2013-02-30"}, {"294248-01-01", "294248"}, {"0000-00-00", "0000"}};
  for (const auto& each : values) {
    ASSERT_TRUE(ok(add_csv(fmt::format("at\n{}\n", each.value), "types: {at: timestamp}")));
    const auto found = rows();
    EXPECT_TRUE(found.starts_with("error")) << found;
    EXPECT_NE(found.find(each.want), std::string::npos) << found;
  }
}

TEST_F(SourcesTest, KeepsNulBytes) {
  ASSERT_TRUE(ok(add_csv(std::string_view("a,b\n1,x\0y\n", 10))));
  EXPECT_EQ(rows("SELECT length(b) AS n FROM t"), "3\n");
}

TEST_F(SourcesTest, TakesThousandsOfColumns) {
  engine_ = std::move(
      *Engine::open({.memory_limit_mb = 2048, .threads = 1, .temp_dir = scratch_.path()}));
  std::string head, row;
  for (int i = 0; i < 3'000; ++i) {
    head += fmt::format("{}c{}", i == 0 ? "" : ",", i);
    row += fmt::format("{}{}", i == 0 ? "" : ",", i);
  }
  const auto added = add_csv(head + "\n" + row + "\n");
  ASSERT_TRUE(ok(added)) << message_of(added).substr(0, 500);
  EXPECT_EQ(rows("SELECT c0, c2999 FROM t"), "0|2999\n");
}

TEST_F(SourcesTest, StopsAtALineThatIsTooLong) {
  {
    std::ofstream out(scratch_ / "x.csv");
    out << "a,b\n1,";
    const std::string much(1'000'000, 'x');
    for (int i = 0; i < 64; ++i) out << much;
  }
  const auto added = add("path: x.csv");
  EXPECT_TRUE(failed_with(added, Code::invalid_argument));
  EXPECT_NE(message_of(added).find("x.csv:2: the line is longer than"), std::string::npos)
      << message_of(added);
  EXPECT_LT(message_of(added).size(), 1000U);
}

TEST_F(SourcesTest, UnpacksWhatIsPackedWhateverItsName) {
  gzip("x.csv.gz", "a,b\n1,x\n");
  ASSERT_TRUE(ok(add("path: x.csv.gz")));
  EXPECT_EQ(rows(), "1|x\n");
  gzip("y.csv", "a,b\n1,x\n");
  ASSERT_TRUE(ok(add("path: y.csv")));
  EXPECT_EQ(rows(), "1|x\n");
}

TEST_F(SourcesTest, RefusesABomb) {
  gzip("x.csv.gz", std::string(1 << 20, '0'), 80);
  const auto added = add("path: x.csv.gz");
  EXPECT_TRUE(failed_with(added, Code::resource_exhausted));
  EXPECT_NE(message_of(added).find("bomb"), std::string::npos);
}

TEST_F(SourcesTest, TellsAPackedFileThatIsCutOff) {
  std::string many = "a,b\n";
  for (int i = 0; i < 200'000; ++i) many += fmt::format("{},{}\n", i, i * 7919 % 100'003);
  gzip("x.csv.gz", many);
  fs::resize_file(scratch_ / "x.csv.gz", fs::file_size(scratch_ / "x.csv.gz") / 2);
  const auto added = add("path: x.csv.gz");
  const auto found = added ? rows("SELECT count(*) AS n FROM t") : "error: " + message_of(added);
  EXPECT_TRUE(found.starts_with("error")) << found;
}

TEST_F(SourcesTest, ReadsJsonOfBothForms) {
  scratch_.file("a.json", R"([{"id": 1, "tags": ["x", "y"], "at": "2013-04-01T05:00:00Z"},
                              {"id": 2, "tags": [], "at": null}])");
  ASSERT_TRUE(ok(add("path: a.json")));
  EXPECT_EQ(types(), "int64 text timestamp");
  EXPECT_EQ(rows(), "1|[\"x\",\"y\"]|2013-04-01T05:00:00Z\n2|[]|~\n");
  scratch_.file("b.jsonl", "{\"id\": \"001\", \"p\": {\"q\": 1}}\n{\"id\": \"002\"}\n");
  ASSERT_TRUE(ok(add("path: b.jsonl")));
  EXPECT_EQ(rows(), "001|{\"q\":1}\n002|~\n");
}

TEST_F(SourcesTest, ReadsArrowFilesAndStreams) {
  arrow::Int32Builder ids;
  ASSERT_TRUE(ids.AppendValues({1, 2, 3}).ok());
  const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field("id", arrow::int32())}),
                                              3, {*ids.Finish()});
  for (const bool stream : {false, true}) {
    const auto file = scratch_ / (stream ? "a.arrows" : "a.arrow");
    auto out = *arrow::io::FileOutputStream::Open(file.string());
    auto writer = stream ? *arrow::ipc::MakeStreamWriter(out, batch->schema())
                         : *arrow::ipc::MakeFileWriter(out, batch->schema());
    ASSERT_TRUE(writer->WriteRecordBatch(*batch).ok() && writer->Close().ok() && out->Close().ok());
    const auto added = add("path: " + file.filename().string());
    ASSERT_TRUE(ok(added)) << message_of(added);
    EXPECT_EQ(rows(), "1\n2\n3\n");
  }
  fs::resize_file(scratch_ / "a.arrow", fs::file_size(scratch_ / "a.arrow") / 2);
  const auto cut = add("path: a.arrow");
  EXPECT_TRUE(failed_with(cut, Code::invalid_argument)) << message_of(cut);
}

TEST_F(SourcesTest, ReadsPartitionedFolders) {
  for (const std::string part : {"year=2012/code=007", "year=2013/code=010"}) {
    fs::create_directories(scratch_ / "events" / part);
    std::ofstream(scratch_ / "events" / part / "a.csv") << "n\n" << part[8] << "\n";
    std::ofstream(scratch_ / "events" / part / "_SUCCESS") << "";
  }
  ASSERT_TRUE(ok(add("path: events\nformat: csv")));
  EXPECT_EQ(types(), "int64 int64 text");
  EXPECT_EQ(rows("SELECT year, code FROM t ORDER BY year"), "2012|007\n2013|010\n");
  fs::create_directories(scratch_ / "events/other=1");
  std::ofstream(scratch_ / "events/other=1/a.csv") << "n\n1\n";
  EXPECT_NE(message_of(add("path: events\nformat: csv")).find("not partitioned"),
            std::string::npos);
}

TEST_F(SourcesTest, ReadsSqliteTables) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer cannot load a library with RTLD_DEEPBIND, which the extension "
                  "needs; tests/compat/test_sources.py reads one with the released program";
#endif
  sqlite3* db = nullptr;
  ASSERT_EQ(::sqlite3_open((scratch_ / "shop.db").c_str(), &db), SQLITE_OK);
  ::sqlite3_exec(db,
                 "CREATE TABLE orders(id INTEGER, code TEXT, price REAL);"
                 "INSERT INTO orders VALUES (1, '001', 0.5), (2, NULL, 1.5)",
                 nullptr, nullptr, nullptr);
  ::sqlite3_close(db);
  ASSERT_TRUE(ok(add("path: shop.db\ntable: orders")));
  EXPECT_EQ(rows(), "1|001|0.5\n2|~|1.5\n");
  EXPECT_TRUE(failed_with(add("path: shop.db\nquery: SELECT 1"), Code::invalid_argument));
  EXPECT_NE(message_of(add("path: shop.db\ntable: order")).find("order"), std::string::npos);
  EXPECT_TRUE(failed_with(add("path: shop.db"), Code::invalid_argument));
}

TEST_F(SourcesTest, NeverTakesNorShowsASecret) {
  for (const std::string wrong : {"path: s3://b/x.csv\ncredentials: {secret: abc}",
                                  "path: postgres://me:hush@localhost/db\ntable: t",
                                  "path: s3://b/x.csv\ncredentials: {secrt: env:X}"}) {
    const auto added = add(wrong);
    EXPECT_TRUE(failed_with(added, Code::invalid_argument)) << wrong;
    EXPECT_EQ(message_of(added).find("hush"), std::string::npos);
  }
  scratch_.file("secret", "very-hush-hush\n");
  const auto added =
      add(fmt::format("path: postgres://me@127.0.0.1:1/db\ntable: t\ncredentials: "
                      "{{password: \"file:{}\"}}",
                      (scratch_ / "secret").string()));
  EXPECT_TRUE(failed_with(added, Code::unavailable)) << message_of(added);
  const auto shown = engine_->query(ctx_, "SELECT 'very-hush-hush'::INT AS x");
  EXPECT_EQ(message_of(shown).find("hush"), std::string::npos) << message_of(shown);
  EXPECT_NE(message_of(shown).find("***"), std::string::npos);
  EXPECT_TRUE(failed_with(add("path: env:SLIPWAY_NO_SUCH_URL\nformat: postgres\ntable: t"),
                          Code::failed_precondition));
}

TEST_F(SourcesTest, NoticesAFileThatIsReplaced) {
  const auto file = scratch_.file("a.csv", "x\n1\n");
  const auto watch = FileWatch::begin({file});
  ASSERT_TRUE(ok(watch));
  EXPECT_TRUE(ok(watch->unchanged()));
  scratch_.file("b.csv", "x\n2\n");
  fs::rename(scratch_ / "b.csv", file);
  EXPECT_TRUE(failed_with(watch->unchanged(), Code::failed_precondition));
}

TEST_F(SourcesTest, PutsSqlErrorsWhereTheSqlStands) {
  ASSERT_TRUE(ok(add_csv("a,b\n1,2\n")));
  const SqlOrigin origin{"p.yaml", 12, 6};
  const auto wrong = engine_->query(ctx_, "SELECT a,\n  bb FROM t", origin);
  EXPECT_TRUE(message_of(wrong).starts_with("p.yaml:13:9: column 'bb' does not exist"))
      << message_of(wrong);
  EXPECT_TRUE(message_of(engine_->define("v", "SELEC 1", origin)).starts_with("p.yaml:12:"));
}

}  // namespace
}  // namespace slipway::data
