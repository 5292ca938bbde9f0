#include "models/bundle.h"

#include <bit>

#include "base/file.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "base/spec.h"
#include "models/certificate_internal.h"

namespace slipway::models {
namespace {

constexpr int kFormat = 1;
constexpr std::string_view kMlflowVersion = "3.1.0";  // whose MLmodel this follows
constexpr std::string_view kXgboostVersion = "3.2.0";

// The walk over the trees gives what the library gives, on the rows that will be certified.
Result<void> check_against_library(const BundleParts& parts, const Model& model,
                                   const data::Batch& rows) {
  const auto count = static_cast<std::size_t>(rows.rows);
  std::vector<float> matrix(count * parts.pipeline.outputs().size());
  if (auto done = parts.pipeline.transform(rows, matrix); !done) return done;
  std::vector<double> ours(count);
  if (auto done = model.predict(matrix, count, ours); !done) return done;
  const auto theirs = library_scores(parts.model, matrix, count);
  if (!theirs) return theirs.error();
  for (std::size_t row = 0; row < count; ++row) {
    if (std::bit_cast<std::uint64_t>(ours[row]) == std::bit_cast<std::uint64_t>((*theirs)[row]))
      continue;
    return internal(fmt::format(
        "row {} scores {} by the XGBoost library and {} by slipway; this model file cannot be "
        "served exactly",
        row, (*theirs)[row], ours[row]));
  }
  return {};
}

// "2013-04-01 05:00:00.000000": how MLflow writes times.
std::string mlflow_time(Time time) {
  const std::int64_t micros = to_micros(time);
  const std::int64_t fraction = ((micros % 1'000'000) + 1'000'000) % 1'000'000;
  std::string text = format_time(from_micros(micros - fraction));
  text = text.substr(0, text.find('Z'));
  if (const auto t = text.find('T'); t != std::string::npos) text[t] = ' ';
  return fmt::format("{}.{:06}", text, fraction);
}

struct File {
  std::string name;
  std::string bytes;
};

Json mlmodel(const BundleParts& parts, const Model& model, const std::vector<File>& files) {
  Json hashes = Json::object();
  std::size_t size = 0;
  for (const File& file : files) {
    hashes[file.name] = sha256_hex(file.bytes);
    size += file.bytes.size();
  }
  Json flavors = {{"slipway",
                   {{"format", kFormat},
                    {"name", parts.name},
                    {"kind", parts.kind},
                    {"target", parts.target},
                    {"model", model.file()},
                    {"features", "features.json"},
                    {"features_digest", parts.pipeline.digest()},
                    {"certificate", "certificate.json"},
                    {"files", hashes}}}};
  if (parts.kind == "xgboost") {
    // The trees alone, over the transformed features: what mlflow.xgboost.load_model gives.
    flavors["xgboost"] = {{"code", nullptr},
                          {"data", model.file()},
                          {"model_class", "xgboost.core.Booster"},
                          {"model_format", "ubj"},
                          {"xgb_version", kXgboostVersion}};
  }
  const Json outputs = Json::array({{{"name", "score"}, {"type", "double"}, {"required", true}}});
  Json root = {{"artifact_path", "model"},
               {"flavors", flavors},
               {"mlflow_version", kMlflowVersion},
               {"model_size_bytes", size},
               {"model_uuid", parts.model_uuid},
               {"saved_input_example_info",
                {{"artifact_path", "input_example.json"},
                 {"pandas_orient", "split"},
                 {"type", "dataframe"}}},
               {"signature",
                {{"inputs", mlflow_columns(parts.pipeline.inputs()).dump()},
                 {"outputs", outputs.dump()},
                 {"params", nullptr}}},
               {"utc_time_created", mlflow_time(parts.created)}};
  if (!parts.run_id.empty()) root["run_id"] = parts.run_id;
  return root;
}

// A file of a bundle: a plain name, so that MLmodel cannot point outside its folder.
Result<std::string> read_checked(const std::filesystem::path& folder, const Json& files,
                                 const std::string& name) {
  if (name.empty() || name.find_first_of("/\\") != std::string::npos || name == "." ||
      name == "..") {
    return data_loss("MLmodel names the file '" + name + "', which is no plain name");
  }
  auto bytes = read_file(folder / name);
  if (!bytes)
    return bytes.error().code == Code::not_found ? data_loss(bytes.error().message) : bytes.error();
  const auto hash = files.find(name);
  if (hash == files.end() || *hash != sha256_hex(*bytes)) {
    return data_loss(
        name + " is not the file that was written: its SHA-256 differs from the one in MLmodel");
  }
  return bytes;
}

Result<Json> read_json(const std::filesystem::path& folder, const Json& files,
                       const std::string& name) {
  const auto bytes = read_checked(folder, files, name);
  if (!bytes) return bytes.error();
  auto json = parse_json(*bytes, name);
  if (!json) return data_loss(json.error().message);
  return json;
}

}  // namespace

Result<void> write_bundle(const std::filesystem::path& folder, const BundleParts& parts) {
  std::error_code ignored;
  if (std::filesystem::exists(folder, ignored)) {
    return already_exists("the bundle folder " + folder.string() +
                          " is there already; bundles are never changed");
  }
  if (parts.sample == nullptr || parts.sample->rows == 0) {
    return invalid_argument(
        "a bundle needs sample rows of its training data, to prove later that it serves as "
        "trained");
  }
  const auto model = load_model(parts.kind, parts.model);
  if (!model) return model.error();
  if ((*model)->features() != parts.pipeline.outputs().size()) {
    return invalid_argument(
        fmt::format("the model takes {} features, and its feature pipeline gives {}",
                    (*model)->features(), parts.pipeline.outputs().size()));
  }
  const auto sample = sample_rows(parts.pipeline.inputs(), *parts.sample, kCertificateRows);
  if (!sample) return sample.error();
  const auto rows = sample->batch();
  if (!rows) return rows.error();
  if (parts.kind == "xgboost") {
    if (auto same = check_against_library(parts, **model, *rows); !same) return same;
  }
  const auto certificate = certify(parts.pipeline, **model, *rows);
  if (!certificate) return certificate.error();

  const auto pretty = [](const Json& json) {
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  };
  std::vector<File> files = {{std::string((*model)->file()), parts.model},
                             {"features.json", canonical(parts.pipeline.to_json())},
                             {"certificate.json", canonical(*certificate)},
                             {"input_example.json", pretty(split_rows(*rows, 5))},
                             {"reference_profile.json", pretty(parts.reference_profile)},
                             {"metrics.json", pretty(parts.metrics)},
                             {"provenance.json", pretty(parts.provenance)}};
  const auto parent = folder.has_parent_path() ? folder.parent_path() : std::filesystem::path(".");
  if (auto made = make_dirs(parent); !made) return made;
  const auto staging = TempDir::create(parent, ".bundle-");
  if (!staging) return staging.error();
  const auto inside = staging->path() / "bundle";
  if (auto made = make_dirs(inside); !made) return made;
  const std::string description = to_yaml(mlmodel(parts, **model, files));
  files.push_back({"MLmodel", description});
  for (const File& file : files) {
    if (auto written = write_file_atomic(inside / file.name, file.bytes); !written) return written;
  }
  return rename_durable(inside, folder);
}

Result<Bundle> Bundle::load(const std::filesystem::path& folder,
                            std::shared_ptr<const features::ViewSource> views) {
  const auto place = [&](const Error& error) { return error.at(folder.string()); };
  const auto text = read_file(folder / "MLmodel");
  if (!text) return text.error();
  const auto document = SpecDocument::parse(*text, "MLmodel");
  if (!document) return place(data_loss(document.error().message));
  try {
    const Json& root = document->root();
    const Json flavor = root.at("flavors").at("slipway");
    if (flavor.at("format") != kFormat) {
      return place(unimplemented("the bundle has format " + flavor.at("format").dump() +
                                 ", and this program reads " + std::to_string(kFormat)));
    }
    const Json& files = flavor.at("files");
    const auto saved = read_json(folder, files, flavor.at("features").get<std::string>());
    if (!saved) return place(saved.error());
    auto pipeline = features::Pipeline::from_json(*saved);
    if (!pipeline) return place(pipeline.error());
    if (!pipeline->views().empty()) *pipeline = pipeline->with_views(std::move(views));
    const auto bytes = read_checked(folder, files, flavor.at("model").get<std::string>());
    if (!bytes) return place(bytes.error());
    auto model = load_model(flavor.at("kind").get<std::string>(), *bytes);
    if (!model) return place(model.error());
    if ((*model)->features() != pipeline->outputs().size()) {
      return place(data_loss("the model and its feature pipeline do not belong together"));
    }
    const auto certificate = read_json(folder, files, flavor.at("certificate").get<std::string>());
    if (!certificate) return place(certificate.error());
    if (const auto same = check_certificate(*certificate, *pipeline, **model); !same)
      return place(same.error());

    Bundle bundle(std::move(*pipeline), std::move(*model));
    bundle.metadata_ = flavor;
    for (const char* key : {"model_uuid", "run_id", "utc_time_created"}) {
      if (root.contains(key)) bundle.metadata_[key] = root[key];
    }
    for (const auto& [name, into] :
         {std::pair{"reference_profile.json", &bundle.reference_profile_},
          std::pair{"metrics.json", &bundle.metrics_},
          std::pair{"provenance.json", &bundle.provenance_}}) {
      auto json = read_json(folder, files, name);
      if (!json) return place(json.error());
      *into = std::move(*json);
    }
    return bundle;
  } catch (const std::exception& e) {
    return place(data_loss("MLmodel: " + std::string(e.what())));
  }
}

Result<void> Bundle::predict(const data::Batch& batch, std::span<double> scores,
                             int threads) const {
  const auto rows = static_cast<std::size_t>(batch.rows);
  const std::size_t width = model_->outputs();
  if (scores.size() != rows * width) {
    return invalid_argument("room for " + std::to_string(scores.size()) +
                            " scores, and the batch has " + std::to_string(rows) + " rows");
  }
  const auto predict_some = [this](const data::Batch& some, std::span<double> out) -> Result<void> {
    thread_local std::vector<float> matrix;
    const auto some_rows = static_cast<std::size_t>(some.rows);
    const std::size_t size = some_rows * pipeline_.outputs().size();
    if (matrix.size() < size) matrix.resize(size);
    const std::span used(matrix.data(), size);
    if (auto done = pipeline_.transform(some, used, 1); !done) return done;
    return model_->predict(std::span<const float>(used), some_rows, out);
  };
  if (rows <= kRowsPerTask) return predict_some(batch, scores);
  std::mutex mutex;
  Result<void> outcome;
  parallel_for(
      rows, kRowsPerTask,
      [&](std::size_t begin, std::size_t end) {
        const data::Batch some =
            batch.slice(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end - begin));
        if (auto done = predict_some(some, scores.subspan(begin * width, (end - begin) * width));
            !done) {
          const std::scoped_lock lock(mutex);
          outcome = std::move(done);
        }
      },
      threads);
  return outcome;
}

}  // namespace slipway::models
