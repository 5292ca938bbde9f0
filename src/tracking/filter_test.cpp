#include "tracking/filter.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::tracking {
namespace {

using test::code_of;
using test::message_of;
using test::ok;

// What was understood, written in one way.
std::string spell(const Comparison& comparison) {
  std::string text =
      fmt::format("{}|{}|{}", comparison.name.scope, comparison.name.key, to_string(comparison.op));
  if (const auto* number = std::get_if<double>(&comparison.value)) {
    text += fmt::format("|{}", *number);
  } else if (const auto* word = std::get_if<std::string>(&comparison.value)) {
    text += "|'" + *word + "'";
  } else if (const auto* list = std::get_if<std::vector<std::string>>(&comparison.value)) {
    text += fmt::format("|[{}]", fmt::join(*list, ";"));
  }
  return text;
}

TEST(Filter, ReadsWhatMlflowWrites) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> rows = {
      {"", {}},
      {"  \n ", {}},
      {"metrics.auc > 0.7", {"metrics|auc|>|0.7"}},
      {"metrics.auc>=-1.5e-3", {"metrics|auc|>=|-0.0015"}},
      {"metric.`val loss` <= 3", {"metric|val loss|<=|3"}},
      {"params.\"a.b/c d\" = 'x'", {"params|a.b/c d|=|'x'"}},
      {"params.lr != \"0.1\" and tags.team LIKE 'risk%'",
       {"params|lr|!=|'0.1'", "tags|team|LIKE|'risk%'"}},
      {"status = 'FINISHED' AND start_time < 1700000000000",
       {"|status|=|'FINISHED'", "|start_time|<|1700000000000"}},
      {"attributes.run_id IN ('a', \"b\",'c')", {"attributes|run_id|IN|[a;b;c]"}},
      {"run_name not in ('x')", {"|run_name|NOT IN|[x]"}},
      {"tags.note = 'it''s'", {"tags|note|=|'it's'"}},
      {"tags.mlflow.parentRunId = 'p'", {"tags|mlflow.parentRunId|=|'p'"}},
      {"TAGS.a ilike '%X'", {"tags|a|ILIKE|'%X'"}},
      {"params.p is null and tags.t IS NOT NULL", {"params|p|IS NULL", "tags|t|IS NOT NULL"}},
      {"`Run name` = 'and'", {"|Run name|=|'and'"}},
      {"metrics.andante > 1", {"metrics|andante|>|1"}},
      {"tags.naïve = 'ü'", {"tags|naïve|=|'ü'"}},
  };
  for (const auto& [text, want] : rows) {
    SCOPED_TRACE(text);
    const auto parsed = parse_filter(text);
    ASSERT_TRUE(ok(parsed));
    std::vector<std::string> got;
    for (const auto& comparison : *parsed) got.push_back(spell(comparison));
    EXPECT_EQ(got, want);
  }
}

TEST(Filter, SaysWhereItStoppedUnderstanding) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"and metrics.a > 1", "character 5"},  // "and" is read as a name
      {"metrics.a > 1 and", "character 18"},
      {"metrics.a > 1 metrics.b > 2", "character 15"},
      {"metrics.a > 1 or metrics.b > 2", "character 15"},
      {"metrics.a", "character 10"},
      {"metrics. > 1", "character 10"},
      {"metrics.a > ", "character 13"},
      {"metrics.a > abc", "character 13"},
      {"metrics.a > 1x", "character 13"},
      {"metrics.a > inf", "character 13"},
      {"params.a = 'open", "character 12"},
      {"run_id IN ()", "character 12"},
      {"run_id IN ('a' 'b')", "character 16"},
      {"run_id IN 'a'", "character 11"},
      {"params.a IS 3", "character 13"},
      {"params.a NOT LIKE 'x'", "character 14"},
      {"(metrics.a > 1)", "character 1"},
      {"params.'' = 'x'", ""},
  };
  for (const auto& [text, place] : rows) {
    SCOPED_TRACE(text);
    const auto parsed = parse_filter(text);
    EXPECT_EQ(code_of(parsed), "invalid_argument");
    EXPECT_NE(message_of(parsed).find(place), std::string::npos) << message_of(parsed);
  }
}

TEST(Filter, RefusesWhatIsTooLong) {
  EXPECT_EQ(code_of(parse_filter(std::string(60'000, ' '))), "invalid_argument");
  std::string many = "metrics.a > 1";
  for (int i = 0; i < 200; ++i) many += " AND metrics.a > 1";
  EXPECT_EQ(code_of(parse_filter(many)), "invalid_argument");
}

TEST(Filter, NeverCrashesOnAnyBytes) {
  std::mt19937 random(20131101);  // the same texts every time
  const std::string_view parts[] = {"metrics.", "a", " ",    ">",  "=",     "'",  "\"",
                                    "`",        "(", ")",    ",",  " AND ", "IN", "NOT ",
                                    "1",        "-", ".",    "e9", "\xc3",  "\0", "IS NULL",
                                    "LIKE ",    "%", "tags", "\n", "<>",    "!"};
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (auto n = random() % 12; n > 0; --n) text += parts[random() % std::size(parts)];
    const auto parsed = parse_filter(text);
    if (!parsed) {
      ASSERT_EQ(parsed.error().code, Code::invalid_argument) << text;
    }
    (void)parse_order(text).has_value();
  }
}

TEST(Order, ReadsNameAndDirection) {
  const std::vector<std::tuple<std::string, std::string, std::string, bool>> rows = {
      {"metrics.auc", "metrics", "auc", false},       {"metrics.auc DESC", "metrics", "auc", true},
      {"metrics.`a b` asc", "metrics", "a b", false}, {"start_time desc", "", "start_time", true},
      {"params.\"x\" DESC", "params", "x", true},
  };
  for (const auto& [text, scope, key, descending] : rows) {
    SCOPED_TRACE(text);
    const auto order = parse_order(text);
    ASSERT_TRUE(ok(order));
    EXPECT_EQ(order->name.scope, scope);
    EXPECT_EQ(order->name.key, key);
    EXPECT_EQ(order->descending, descending);
  }
  for (const std::string text : {"", "metrics.a DOWN", "metrics.a DESC, b", "DESC extra x"}) {
    EXPECT_EQ(code_of(parse_order(text)), "invalid_argument") << text;
  }
}

TEST(PageToken, BelongsToOneSearch) {
  const auto token = make_page_token(40, "search one");
  const auto offset = read_page_token(token, "search one");
  ASSERT_TRUE(ok(offset));
  EXPECT_EQ(*offset, 40);
  EXPECT_EQ(*read_page_token("", "anything"), 0);
  EXPECT_EQ(code_of(read_page_token(token, "search two")), "invalid_argument");
  for (const std::string bad : {"x", "!!!", "MTA=", "LTU6MDA="}) {
    EXPECT_EQ(code_of(read_page_token(bad, "search one")), "invalid_argument") << bad;
  }
}

}  // namespace
}  // namespace slipway::tracking
