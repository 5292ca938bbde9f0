// Models as MLflow lays them out, graphs, and hostile folders.
#include "models/servable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "models/graph.h"
#include "models/onnx_file_internal.h"
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

class ServableTest : public ::testing::Test {
 protected:
  // A folder as mlflow.xgboost.log_model writes it, columns a, b, c.
  std::filesystem::path xgboost_folder(const std::string& name, int rounds = 5,
                                       const std::string& objective = "binary:logistic") {
    const auto folder = scratch_ / name;
    EXPECT_TRUE(ok(make_dirs(folder)));
    Parameters parameters = {{"objective", objective}};
    RandomData data = random_data(1, 400, 3, true);
    if (objective == "multi:softprob") {
      parameters.emplace_back("num_class", "3");
      for (std::size_t i = 0; i < data.rows; ++i) data.labels[i] = static_cast<float>(i % 3);
    }
    write(folder / "model.ubj", train_model(data, parameters, rounds));
    write(folder / "MLmodel", R"(
flavors:
  python_function: {data: model.ubj, loader_module: mlflow.xgboost}
  xgboost: {data: model.ubj, model_class: xgboost.core.Booster, model_format: ubj}
mlflow_version: 3.17.2
signature:
  inputs: '[{"type": "double", "name": "a", "required": true}, {"type": "long", "name": "b"},
    {"type": "double", "name": "c"}]'
)");
    return folder;
  }

  static void write(const std::filesystem::path& path, std::string_view bytes) {
    ASSERT_TRUE(ok(write_file_atomic(path, bytes)));
  }

  data::BatchBuilder rows(std::size_t count = 20) {
    data::BatchBuilder builder({{{"c", data::Type::float64, true},
                                 {"b", data::Type::int64, true},
                                 {"a", data::Type::float64, true}}});
    Rng rng(4);
    for (std::size_t row = 0; row < count; ++row) {
      builder.append_real(0, rng.normal());
      builder.append_integer(1, static_cast<std::int64_t>(rng.below(4)));
      row % 5 == 0 ? builder.append_null(2) : builder.append_real(2, rng.normal());
    }
    return builder;
  }

  std::vector<double> predict(const Servable& model, const data::BatchBuilder& builder) {
    const auto batch = builder.batch();
    std::vector<double> out(static_cast<std::size_t>(batch->rows) * model.width());
    EXPECT_TRUE(ok(model.predict(*batch, out)));
    return out;
  }

  // A graph's folder: graph.json and members.
  std::filesystem::path graph_folder(const std::string& text) {
    const auto folder = scratch_ / fmt::format("graph{}", ++graphs_);
    const auto document = SpecDocument::parse(text, "graph.yaml");
    EXPECT_TRUE(ok(document));
    EXPECT_TRUE(ok(make_dirs(folder / "members")));
    for (const auto& [name, node] : document->root()["nodes"].items()) {
      if (!node.contains("model")) continue;
      std::filesystem::copy(scratch_ / node["model"].get<std::string>(), folder / "members" / name);
    }
    write(folder / "graph.json", document->root().dump());
    return folder;
  }

  Scratch scratch_;
  int graphs_ = 0;
};

TEST_F(ServableTest, RunsWhatMlflowLoggedWithColumnsByName) {
  const auto model = load_servable(xgboost_folder("m"));
  ASSERT_TRUE(ok(model));
  EXPECT_EQ((*model)->inputs().names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ((*model)->inputs().fields[1].type, data::Type::int64);
  EXPECT_TRUE((*model)->is_classifier());
  EXPECT_EQ((*model)->explained().size(), 3U);
  const auto builder = rows();
  const auto batch = builder.batch();
  const auto trees = load_xgboost(*read_file(scratch_ / "m" / "model.ubj"));
  std::vector<double> matrix;
  for (std::int64_t row = 0; row < batch->rows; ++row) {
    for (const int column : {2, 1, 0}) matrix.push_back(batch->columns[column].number(row));
  }
  std::vector<double> want(20);
  ASSERT_TRUE(ok((*trees)->predict(std::span<const double>(matrix), 20, want)));
  EXPECT_EQ(predict(**model, builder), want);
}

TEST_F(ServableTest, GivesTheProbabilitiesOfSeveralClasses) {
  const auto model = load_servable(xgboost_folder("m", 4, "multi:softprob"));
  ASSERT_TRUE(ok(model));
  EXPECT_EQ((*model)->width(), 3U);
  EXPECT_TRUE((*model)->is_classifier());
  const auto out = predict(**model, rows());
  for (std::size_t row = 0; row < 20; ++row)
    EXPECT_NEAR(out[row * 3] + out[row * 3 + 1] + out[row * 3 + 2], 1, 1e-6);
}

TEST_F(ServableTest, RefusesHostileFolders) {
  const auto folder = xgboost_folder("m");
  const std::string good = *read_file(folder / "MLmodel");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
    write(folder / "MLmodel", text);
    return load_servable(folder);
  };
  write(scratch_ / "secret", "secret");
  for (const std::string outside : {"../secret", "/etc/passwd", "x/../../secret"}) {
    const auto model = with("model.ubj", outside);
    EXPECT_TRUE(failed_with(model, Code::data_loss));
    EXPECT_THAT(message_of(model), HasSubstr("not inside"));
  }
  std::filesystem::create_symlink(scratch_ / "secret", folder / "link");
  EXPECT_THAT(message_of(with("model.ubj", "link")), HasSubstr("not inside"));
  EXPECT_THAT(message_of(with("model.ubj", "gone")), HasSubstr("missing"));
  EXPECT_TRUE(failed_with(with("long", "polygon"), Code::unimplemented));
  EXPECT_TRUE(failed_with(with("flavors:", "flavours:"), Code::unimplemented));
  EXPECT_TRUE(failed_with(with("\"name\": \"c\"", "\"name\": 7"), Code::data_loss));
  // Only Python can run it, and no Python is set up.
  const auto python = with("  xgboost:", "  sklearn:");
  EXPECT_TRUE(failed_with(python, Code::failed_precondition));
  EXPECT_THAT(message_of(python), HasSubstr("--model-python"));
  Rng rng(6);
  for (int i = 0; i < 500; ++i) {
    std::string bad = good;
    for (std::uint64_t n = 1 + rng.below(4); n > 0; --n)
      bad[rng.below(bad.size())] = static_cast<char>(rng.below(256));
    std::ofstream(folder / "MLmodel", std::ios::binary) << bad;
    (void)load_servable(folder);
  }
}

TEST_F(ServableTest, GraphsCombineModels) {
  xgboost_folder("one", 3);
  xgboost_folder("two", 9);
  const auto builder = rows();
  const auto one = predict(**load_servable(scratch_ / "one"), builder);
  const auto two = predict(**load_servable(scratch_ / "two"), builder);
  const auto batch = builder.batch();
  const auto check = [&](const std::string& text, auto want) {
    SCOPED_TRACE(text);
    const auto model = load_servable(graph_folder(text));
    ASSERT_TRUE(ok(model));
    const auto out = predict(**model, builder);
    for (std::size_t row = 0; row < out.size(); ++row) EXPECT_NEAR(out[row], want(row), 1e-12);
  };
  const std::string models = "version: 1\nnodes:\n  x: {model: one}\n  y: {model: two}\n";
  check(models + "  z: {mean: [x, y]}\noutput: z",
        [&](std::size_t row) { return (one[row] + two[row]) / 2; });
  check(models + "  z: {weighted: {x: 3, y: 1}}\noutput: z",
        [&](std::size_t row) { return 0.75 * one[row] + 0.25 * two[row]; });
  check(models + "  z: {vote: [x, y], threshold: 0.6}\noutput: z", [&](std::size_t row) {
    return ((one[row] >= 0.6 ? 1 : 0) + (two[row] >= 0.6 ? 1 : 0)) / 2.0;
  });
  check(models +
            "  z: {switch: [{when: {column: a, missing: true}, use: x}, {when: {column: c, above: "
            "0}, use: y}, {use: x}]}\noutput: z",
        [&](std::size_t row) {
          const auto at = static_cast<std::int64_t>(row);
          if (batch->columns[2].is_null(at)) return one[row];
          return batch->columns[0].real(at) > 0 ? two[row] : one[row];
        });
}

TEST_F(ServableTest, GraphsStackModels) {
  xgboost_folder("one", 3);
  const auto text = "nodes:\n  x: {model: one}\n  y: {model: one, inputs: {a: x}}\noutput: y\n";
  const auto stacked = load_servable(graph_folder(text));
  ASSERT_TRUE(ok(stacked));
  const auto builder = rows();
  const auto plain = load_servable(scratch_ / "one");
  const auto first = predict(**plain, builder);
  data::BatchBuilder filled((*plain)->inputs());
  const auto batch = builder.batch();
  for (std::size_t row = 0; row < first.size(); ++row) {
    const auto at = static_cast<std::int64_t>(row);
    filled.append_real(0, first[row]);
    filled.append_integer(1, batch->columns[1].integer(at));
    filled.append_real(2, batch->columns[0].real(at));
  }
  EXPECT_EQ(predict(**stacked, builder), predict(**plain, filled));
}

TEST_F(ServableTest, SaysWhatIsWrongWithAGraph) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"nodes: {x: {mean: [y]}, y: {mean: [x]}}\noutput: x", "circle: x, y"},
      {"nodes: {x: {mean: [x]}}\noutput: x", "circle: x"},
      {"nodes: {xylophone: {model: one}, y: {mean: [xylophon]}}\noutput: y",
       "did you mean 'xylophone'"},
      {"nodes: {x: {model: one}, y: {model: two}}\noutput: x", "nothing uses the node 'y'"},
      {"nodes: {x: {model: one, mean: [x]}}\noutput: x", "one of model"},
      {"nodes: {x: {modle: one}}\noutput: x", "model"},
      {"nodes: {}\noutput: x", "1 to 64 nodes"},
      {"nodes: {x: {model: one}, y: {weighted: {x: -1}}}\noutput: y", "from 0 on"},
      {"nodes: {x: {model: one}, y: {switch: [{use: x}, {use: x}]}}\noutput: y", "the last"},
      {"nodes: {../x: {model: one}}\noutput: ../x", "is no name"},
      {"version: 2\nnodes: {x: {model: one}}\noutput: x", "version 1"},
  };
  for (const auto& [text, want] : cases) {
    SCOPED_TRACE(text);
    write(scratch_ / "graph.yaml", text);
    const auto spec = GraphSpec::load((scratch_ / "graph.yaml").string());
    EXPECT_TRUE(failed_with(spec, Code::invalid_argument));
    EXPECT_THAT(message_of(spec), HasSubstr(want));
  }
  xgboost_folder("one", 2);
  xgboost_folder("three", 2, "multi:softprob");
  EXPECT_THAT(message_of(load_servable(graph_folder(
                  "nodes: {x: {model: one}, y: {model: three}, z: {mean: [x, y]}}\noutput: z"))),
              HasSubstr("different kinds"));
  EXPECT_THAT(message_of(load_servable(graph_folder(
                  "nodes: {x: {model: one}, y: {model: one, inputs: {q: x}}}\noutput: y"))),
              HasSubstr("does not take"));
}

TEST_F(ServableTest, AGraphIsTheSameAfterItWasWrittenOut) {
  write(scratch_ / "graph.yaml",
        "nodes:\n  x: {model: one/3}\n  y: {model: two/1, inputs: {p: x}}\n  w: {weighted: {x: "
        "0.25, y: 0.5}}\n  v: {vote: [x, y], threshold: 0.4}\n  s: {switch: [{when: {column: a, "
        "equal: JFK}, use: w}, {when: {column: b, below: 3}, use: v}, {use: x}]}\noutput: s");
  const auto spec = GraphSpec::load((scratch_ / "graph.yaml").string());
  ASSERT_TRUE(ok(spec));
  const auto again = GraphSpec::from_json(spec->to_json());
  ASSERT_TRUE(ok(again));
  EXPECT_EQ(again->to_json(), spec->to_json());
}

// A protobuf field with bytes in it.
std::string message_field(int number, std::string_view bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  out.push_back(static_cast<char>(bytes.size() % 128 | 0x80));
  out.push_back(static_cast<char>(bytes.size() / 128));
  return out + std::string(bytes);
}

TEST(OnnxFile, FindsTheFilesOfExternalTensorsWhereverTheyStand) {
  const std::string entry = message_field(1, "location") + message_field(2, "../weights.bin");
  const std::string tensor = message_field(13, entry);
  const std::string in_graph = message_field(7, message_field(5, tensor));
  // graph { node { attribute { graph { initializer } } } }
  const std::string nested = message_field(
      7, message_field(1, message_field(5, message_field(6, message_field(5, tensor)))));
  for (const std::string& model : {in_graph, nested}) {
    const auto files = external_files(model);
    ASSERT_TRUE(ok(files));
    EXPECT_EQ(*files, (std::vector<std::string>{"../weights.bin"}));
    for (std::size_t size = 1; size < model.size(); ++size)
      (void)external_files(model.substr(0, size));
    EXPECT_TRUE(failed_with(external_files(model.substr(0, model.size() - 1)), Code::data_loss));
  }
  std::string deep;
  for (int i = 0; i < 300; ++i)
    deep = message_field(6, message_field(1, message_field(5, deep))).substr(0, 16'000);
  (void)external_files(message_field(7, deep));
  EXPECT_TRUE(failed_with(external_files(""), Code::data_loss));
}

}  // namespace
}  // namespace slipway::models
