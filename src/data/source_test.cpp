#include "data/source.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::data {
namespace {

using test::code_of;
using test::message_of;
using test::ok;
using test::Scratch;

TEST(Source, TellsTheKindByTheEnding) {
  const std::pair<const char*, Source::Kind> rows[] = {{"a.csv", Source::Kind::csv},
                                                       {"a.csv.gz", Source::Kind::csv},
                                                       {"a.tsv", Source::Kind::csv},
                                                       {"a.parquet", Source::Kind::parquet},
                                                       {"a.jsonl.gz", Source::Kind::jsonl},
                                                       {"a.ndjson", Source::Kind::jsonl},
                                                       {"a.json.zst", Source::Kind::json},
                                                       {"a.feather", Source::Kind::arrow},
                                                       {"a.xlsx", Source::Kind::excel},
                                                       {"a.db", Source::Kind::sqlite},
                                                       {"s3://b/a.csv.gz?v=1", Source::Kind::csv}};
  for (const auto& [file, kind] : rows) {
    const auto source = Source::of_file(file);
    ASSERT_TRUE(ok(source)) << file;
    EXPECT_EQ(source->kind, kind) << file;
  }
  EXPECT_EQ(Source::of_file("a.tsv")->csv.delimiter, '\t');
  EXPECT_EQ(code_of(Source::of_file("a.docx")), "invalid_argument");
}

TEST(Source, IsReadFromADeclaration) {
  const auto doc = SpecDocument::parse(
      "path: data/f.csv\nnull_values: [NA, '-']\ntypes: {at: timestamp, n: int64}\ndelimiter: "
      "';'\n",
      "s.yaml");
  ASSERT_TRUE(ok(doc));
  SpecReader reader(*doc);
  const auto source = Source::read(reader, "/base");
  ASSERT_TRUE(ok(reader.finish()));
  EXPECT_EQ(source.paths, std::vector<std::string>{"/base/data/f.csv"});
  EXPECT_EQ(source.null_values, (std::vector<std::string>{"NA", "-"}));
  EXPECT_EQ(source.types.at("at"), Type::timestamp);
  EXPECT_EQ(source.csv.delimiter, ';');
}

TEST(Source, TellsEveryMistakeInADeclaration) {
  const auto doc =
      SpecDocument::parse("path: f.dat\ntypes: {at: timestmp}\ndelimiter: ab\n", "s.yaml");
  SpecReader reader(*doc);
  (void)Source::read(reader, "");
  const auto problems = reader.finish();
  EXPECT_EQ(code_of(problems), "invalid_argument");
  for (const char* want : {"format", "did you mean 'timestamp'", "one character"}) {
    EXPECT_NE(message_of(problems).find(want), std::string::npos) << message_of(problems);
  }
}

TEST(Expand, FindsFilesInOrderAndNamesWhatIsMissing) {
  const Scratch scratch;
  scratch.file("b.csv", "x\n");
  scratch.file("a.csv", "x\n");
  const auto files =
      expand({.paths = {(scratch / "*.csv").string(), (scratch / "a.csv").string()}});
  ASSERT_TRUE(ok(files));
  EXPECT_EQ(*files, (std::vector<std::filesystem::path>{scratch / "a.csv", scratch / "b.csv"}));
  EXPECT_EQ(code_of(expand({.paths = {(scratch / "*.json").string()}})), "not_found");
  EXPECT_EQ(code_of(expand({.paths = {(scratch / "c.csv").string()}})), "not_found");
  EXPECT_EQ(expand({.paths = {scratch.path().string()}})->size(), 2U)
      << "all CSV files of a folder";
  EXPECT_EQ(code_of(expand({.kind = Source::Kind::parquet, .paths = {scratch.path().string()}})),
            "not_found");
  EXPECT_EQ(code_of(expand({})), "invalid_argument");
}

TEST(FileFacts, IdentifyTheBytes) {
  const Scratch scratch;
  const auto file = scratch.file("a.csv", "x\n1\n");
  const auto facts = file_facts({}, {.paths = {file.string()}});
  ASSERT_TRUE(ok(facts));
  ASSERT_EQ(facts->size(), 1U);
  EXPECT_EQ(facts->front().size, 4);
  EXPECT_EQ(facts->front().sha256.size(), 64U);
  EXPECT_GT(to_micros(facts->front().modified), 0);
  EXPECT_FALSE(facts->front().to_json().contains("modified"))
      << "a clock value must not enter an identity";
}

}  // namespace
}  // namespace slipway::data
