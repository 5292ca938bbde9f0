// Models that MLflow logged. The format: MLmodel, YAML (mlflow/models/model.py); signatures are
// JSON texts in it (mlflow/types/schema.py). What a flavor's own file says is run here; a model
// that only Python can run goes to a worker.
#include "base/file.h"
#include "models/servable_internal.h"

namespace slipway::models {
namespace {

constexpr std::uintmax_t kMostModelBytes = std::uintmax_t{2} << 30;

Result<data::Type> type_of(const std::string& name) {
  if (name == "boolean") return data::Type::boolean;
  if (name == "integer" || name == "long") return data::Type::int64;
  if (name == "float" || name == "double") return data::Type::float64;
  if (name == "string") return data::Type::text;
  if (name == "datetime") return data::Type::timestamp;
  return unimplemented("the signature has a column of type '" + name +
                       "'; boolean, integer, long, float, double, string and datetime are served");
}

// The columns of a signature; nothing when it is missing or of tensors. Throws on other shapes.
Result<void> read_signature(MlflowFolder& mlflow) {
  const auto signature = mlflow.root.find("signature");
  if (signature == mlflow.root.end() || !signature->is_object()) return {};
  const auto inputs = signature->find("inputs");
  if (inputs == signature->end() || !inputs->is_string()) return {};
  const auto columns = parse_json(inputs->get<std::string>(), "the signature's inputs");
  if (!columns) return data_loss(columns.error().message);
  for (const Json& column : *columns) {
    const auto type = column.at("type").get<std::string>();
    if (type == "tensor") {
      mlflow.tensor_inputs = true;
      return {};
    }
    const auto known = type_of(type);
    if (!known) return known.error();
    const std::string name = column.contains("name") ? column["name"].get<std::string>()
                                                     : fmt::format("f{}", mlflow.inputs.size());
    mlflow.inputs.push_back({name, *known, true});
  }
  return {};
}

// The columns in the order of the model's features. By name where the model knows names, else by
// place.
Result<data::Schema> columns_of(const MlflowFolder& mlflow, const Model& model) {
  const auto names = model.feature_names();
  data::Schema schema;
  const data::Schema signature{mlflow.inputs};
  bool by_name = !names.empty();
  for (const std::string& name : names) by_name &= signature.index(name).has_value();
  if (by_name) {
    for (const std::string& name : names)
      schema.fields.push_back(signature.fields[*signature.index(name)]);
  } else if (mlflow.inputs.empty()) {
    for (std::size_t k = 0; k < model.features(); ++k)
      schema.fields.push_back(
          {names.empty() ? fmt::format("f{}", k) : names[k], data::Type::float64, true});
  } else if (mlflow.inputs.size() == model.features()) {
    schema.fields = mlflow.inputs;
  } else {
    return data_loss(fmt::format("the signature has {} columns, and the model takes {} features",
                                 mlflow.inputs.size(), model.features()));
  }
  for (const data::Field& field : schema.fields) {
    if (field.type == data::Type::text) {
      return unimplemented("column '" + field.name +
                           "' of the signature is text: categories of a data frame are only known "
                           "to Python");
    }
  }
  return schema;
}

Result<std::string> model_bytes_of(const MlflowFolder& mlflow, const Json& flavor,
                                   const char* key) {
  const auto path = mlflow.file(flavor, key);
  if (!path) return path.error();
  return read_file(*path);
}

Result<ServablePtr> load_trees(const MlflowFolder& mlflow, std::string_view kind,
                               const Json& flavor) {
  const auto bytes = model_bytes_of(mlflow, flavor, "data");
  if (!bytes) return bytes.error();
  Result<ModelPtr> model = internal("no model");
  if (kind == "xgboost") {
    // XGBoost's scikit-learn classes predict with the rounds up to the best.
    const bool sklearn =
        flavor.value("model_class", std::string()).find("sklearn") != std::string::npos;
    model = load_xgboost(
        *bytes, {.rounds = sklearn ? XgboostOptions::Rounds::best : XgboostOptions::Rounds::all});
  } else {
    model = load_lightgbm(*bytes);
  }
  if (!model) return model.error();
  auto schema = columns_of(mlflow, **model);
  if (!schema) return schema.error();
  return make_table_model(std::move(*schema), std::move(*model), mlflow.describe(kind));
}

// LightGBM's scikit-learn classes are pickled or stored by skops: Python's.
bool is_text_model(const Json& flavor) {
  const std::string data = flavor.value("data", std::string());
  return !data.ends_with(".pkl") && !data.ends_with(".skops") && !data.ends_with(".joblib");
}

Result<ServablePtr> load_flavor(const MlflowFolder& mlflow, const RuntimeOptions& options) {
  Result<ServablePtr> native = unimplemented("it has no flavor that runs without Python");
  if (const Json* flavor = mlflow.flavor("xgboost"); flavor != nullptr && is_text_model(*flavor)) {
    native = load_trees(mlflow, "xgboost", *flavor);
  } else if (const Json* lightgbm = mlflow.flavor("lightgbm");
             lightgbm != nullptr && is_text_model(*lightgbm)) {
    native = load_trees(mlflow, "lightgbm", *lightgbm);
  } else if (const Json* onnx = mlflow.flavor("onnx"); onnx != nullptr) {
    native = load_onnx(mlflow, *onnx, options);
  }
  if (native || native.error().code != Code::unimplemented) return native;
  if (mlflow.flavor("python_function") == nullptr) return native;
  auto worker = load_worker(mlflow, options);
  if (!worker && worker.error().code == Code::failed_precondition) {
    return failed_precondition(native.error().message + "; and " + worker.error().message);
  }
  return worker;
}

}  // namespace

const Json* MlflowFolder::flavor(std::string_view name) const {
  const auto flavors = root.find("flavors");
  if (flavors == root.end() || !flavors->is_object()) return nullptr;
  const auto found = flavors->find(name);
  return found == flavors->end() || !found->is_object() ? nullptr : &*found;
}

Result<std::filesystem::path> MlflowFolder::file(const Json& flavor, const char* key) const {
  const auto found = flavor.find(key);
  if (found == flavor.end() || !found->is_string())
    return data_loss(fmt::format("MLmodel does not say which file holds the model ('{}')", key));
  const std::filesystem::path relative = found->get<std::string>();
  const bool outside = relative.empty() || relative.is_absolute() ||
                       std::ranges::any_of(relative, [](const auto& part) { return part == ".."; });
  const auto path = folder / relative;
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (outside || std::filesystem::is_symlink(status)) {
    return data_loss("MLmodel names the file '" + relative.string() +
                     "', which is not inside the model's folder");
  }
  if (!std::filesystem::is_regular_file(status))
    return data_loss("the file '" + relative.string() + "' of the model is missing");
  const auto size = std::filesystem::file_size(path, error);
  if (error || size > kMostModelBytes)
    return data_loss(fmt::format("'{}' has {} bytes, more than the {} that are read",
                                 relative.string(), size, kMostModelBytes));
  return path;
}

Json MlflowFolder::describe(std::string_view kind) const {
  Json out = {{"kind", kind}, {"format", "mlflow"}};
  for (const char* key : {"model_uuid", "run_id", "utc_time_created", "mlflow_version"}) {
    if (root.contains(key)) out[key] = root[key];
  }
  return out;
}

Result<ServablePtr> load_mlflow(const std::filesystem::path& folder,
                                const RuntimeOptions& options) {
  const auto text = read_file(folder / "MLmodel");
  if (!text) return text.error();
  const auto document = SpecDocument::parse(*text, "MLmodel");
  if (!document) return data_loss(document.error().message);
  try {
    MlflowFolder mlflow{.folder = folder, .root = document->root()};
    if (auto read = read_signature(mlflow); !read) return read.error().at("MLmodel");
    return load_flavor(mlflow, options);
  } catch (const std::exception& e) {
    return data_loss("MLmodel: " + std::string(e.what()));
  }
}

}  // namespace slipway::models
