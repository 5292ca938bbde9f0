// ONNX models by ONNX Runtime's C++ API. The library is opened when the first such model is loaded:
// whoever serves none pays neither its start nor its memory. One thread a call: requests are what
// runs in parallel.
#include <dlfcn.h>

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

#include "base/file.h"
#include "models/onnx_file_internal.h"
#include "models/servable_internal.h"

namespace slipway::models {
namespace {

constexpr std::size_t kOnnxRowsPerCall = 1024;
constexpr std::int64_t kMostOnnxColumns = 100'000;

std::filesystem::path program_folder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

// Opens the library once for the whole process; the first caller's path counts.
Result<void> open_onnxruntime(const std::filesystem::path& wanted) {
  static const Result<void> opened = [&]() -> Result<void> {
    std::vector<std::string> candidates;
    if (!wanted.empty()) {
      candidates = {wanted.string()};
    } else {
      candidates = {(program_folder() / "../lib" / SLIPWAY_ONNXRUNTIME_NAME).string(),
                    SLIPWAY_ONNXRUNTIME_LIBRARY, SLIPWAY_ONNXRUNTIME_NAME, "libonnxruntime.so"};
    }
    void* library = nullptr;
    for (const std::string& candidate : candidates) {
      library = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library != nullptr) break;
    }
    if (library == nullptr) {
      return failed_precondition(
          fmt::format("ONNX Runtime is not installed (tried {}): run ./dev setup, or put {} on the "
                      "library path",
                      fmt::join(candidates, ", "), SLIPWAY_ONNXRUNTIME_NAME));
    }
    const auto base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(library, "OrtGetApiBase"));
    const OrtApi* api = base == nullptr ? nullptr : base()->GetApi(ORT_API_VERSION);
    if (api == nullptr)
      return failed_precondition("the installed ONNX Runtime is older than this program wants");
    Ort::InitApi(api);
    return {};
  }();
  return opened;
}

// Lives as long as the process: ONNX Runtime wants one.
const Ort::Env& onnx_environment() {
  static const Ort::Env* const environment = [] {
    return new Ort::Env(ORT_LOGGING_LEVEL_FATAL, "slipway");
  }();
  return *environment;
}

struct OnnxInput {
  std::string name;
  ONNXTensorElementDataType type;
  std::size_t columns;  // of the schema
  bool matrix;          // [rows, columns], else [rows]
};

struct OnnxOutput {
  std::string name;
  bool classifier = false;
};

Result<data::Type> column_type(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      return data::Type::float64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return data::Type::int64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
      return data::Type::boolean;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING:
      return data::Type::text;
    default:
      return unimplemented(
          fmt::format("an input has ONNX element type {}; float, double, int32, int64, bool and "
                      "string are served",
                      static_cast<int>(type)));
  }
}

// The columns of one input, [rows, n] row-major, as T.
template <class T>
std::vector<T> gather(const std::vector<data::ColumnView>& columns, std::int64_t rows) {
  std::vector<T> values(static_cast<std::size_t>(rows) * columns.size());
  for (std::size_t k = 0; k < columns.size(); ++k) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto at = static_cast<std::size_t>(row) * columns.size() + k;
      if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, std::int32_t>) {
        values[at] = static_cast<T>(columns[k].type == data::Type::int64
                                        ? columns[k].integer(row)
                                        : static_cast<std::int64_t>(columns[k].number(row)));
      } else {
        values[at] = static_cast<T>(columns[k].number(row));
      }
    }
  }
  return values;
}

class OnnxModel final : public Servable {
 public:
  OnnxModel(Ort::Session session, data::Schema inputs, std::vector<OnnxInput> takes,
            OnnxOutput gives, Json description)
      : session_(std::move(session)),
        inputs_(std::move(inputs)),
        takes_(std::move(takes)),
        gives_(std::move(gives)),
        description_(std::move(description)) {}

  const data::Schema& inputs() const override { return inputs_; }
  bool is_classifier() const override { return gives_.classifier; }
  std::size_t width() const override { return two_classes_ ? 1 : width_; }
  Json describe() const override { return description_; }

  Result<void> predict(const data::Batch& batch, std::span<double> out, int) const override {
    const auto rows = static_cast<std::size_t>(batch.rows);
    if (out.size() != rows * width())
      return invalid_argument(
          fmt::format("room for {} numbers, wanted {}", out.size(), rows * width()));
    std::vector<double> values;
    for (std::size_t begin = 0; begin < rows; begin += kOnnxRowsPerCall) {
      const std::size_t count = std::min(kOnnxRowsPerCall, rows - begin);
      auto done = run(
          batch.slice(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(count)), values);
      if (!done) return done;
      if (values.size() != count * width_) {
        return failed_precondition(fmt::format("the model gave {} numbers for {} rows, wanted {}",
                                               values.size(), count, count * width_));
      }
      for (std::size_t row = 0; row < count; ++row) {
        if (two_classes_) {
          out[begin + row] = values[row * 2 + 1];
        } else {
          std::copy_n(values.data() + row * width_, width_, out.data() + (begin + row) * width_);
        }
      }
    }
    return {};
  }

  // Runs one row of zeros: whether the model runs at all, and how many numbers a row gives.
  Result<void> learn_width() {
    data::BatchBuilder builder(inputs_);
    for (std::size_t k = 0; k < inputs_.fields.size(); ++k) {
      const data::Type type = inputs_.fields[k].type;
      if (type == data::Type::text) {
        builder.append_text(k, "");
      } else if (type == data::Type::boolean) {
        builder.append_boolean(k, false);
      } else if (type == data::Type::int64) {
        builder.append_integer(k, 0);
      } else {
        builder.append_real(k, 0);
      }
    }
    const auto batch = builder.batch();
    if (!batch) return batch.error();
    std::vector<double> values;
    if (auto done = run(*batch, values); !done) return done;
    if (values.empty()) return unimplemented("the model's output is empty");
    width_ = values.size();
    two_classes_ = gives_.classifier && width_ == 2;
    return {};
  }

 private:
  Result<void> run(const data::Batch& batch, std::vector<double>& values) const {
    try {
      return run_throwing(batch, values);
    } catch (const Ort::Exception& e) {
      return failed_precondition("ONNX Runtime: " + std::string(e.what()));
    }
  }

  Result<void> run_throwing(const data::Batch& batch, std::vector<double>& values) const {
    const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
    std::vector<Ort::Value> tensors;
    std::deque<std::vector<std::byte>> kept;
    std::vector<const char*> names;
    std::size_t next = 0;
    for (const OnnxInput& input : takes_) {
      std::vector<data::ColumnView> columns;
      for (std::size_t k = 0; k < input.columns; ++k, ++next) {
        const auto at = batch.schema->find(inputs_.fields[next].name);
        if (!at) return at.error();
        columns.push_back(batch.columns[*at]);
        if (auto fits = check_gaps(inputs_.fields[next], columns.back(), input.type); !fits)
          return fits;
      }
      const std::vector<std::int64_t> shape =
          input.matrix
              ? std::vector<std::int64_t>{batch.rows, static_cast<std::int64_t>(input.columns)}
              : std::vector<std::int64_t>{batch.rows};
      names.push_back(input.name.c_str());
      const auto numbers = [&]<class T>(T) {
        const std::vector<T> gathered = gather<T>(columns, batch.rows);
        auto& bytes = kept.emplace_back(gathered.size() * sizeof(T));
        std::memcpy(bytes.data(), gathered.data(), bytes.size());
        tensors.push_back(Ort::Value::CreateTensor<T>(memory, reinterpret_cast<T*>(bytes.data()),
                                                      gathered.size(), shape.data(), shape.size()));
      };
      switch (input.type) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
          numbers(float{});
          break;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
          numbers(double{});
          break;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
          numbers(std::int64_t{});
          break;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
          numbers(std::int32_t{});
          break;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL: {
          auto& bytes = kept.emplace_back(static_cast<std::size_t>(batch.rows) * columns.size());
          for (std::size_t i = 0; i < bytes.size(); ++i)
            bytes[i] = static_cast<std::byte>(
                columns[i % columns.size()].boolean(static_cast<std::int64_t>(i / columns.size())));
          tensors.push_back(
              Ort::Value::CreateTensor<bool>(memory, reinterpret_cast<bool*>(bytes.data()),
                                             bytes.size(), shape.data(), shape.size()));
          break;
        }
        default:
          tensors.push_back(text_tensor(columns, batch.rows, shape));
      }
    }
    const char* output = gives_.name.c_str();
    const auto results = session_.Run(Ort::RunOptions{nullptr}, names.data(), tensors.data(),
                                      tensors.size(), &output, 1);
    return read_output(results.front(), values);
  }

  static Result<void> check_gaps(const data::Field& field, const data::ColumnView& column,
                                 ONNXTensorElementDataType type) {
    if ((type == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) != (column.type == data::Type::text)) {
      return invalid_argument("column '" + field.name + "' is " +
                              std::string(to_string(column.type)) + ", not what the model takes");
    }
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || type == ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE)
      return {};
    for (std::int64_t row = 0; column.validity != nullptr && row < column.rows; ++row) {
      if (column.is_null(row)) {
        return invalid_argument(fmt::format(
            "row {}: column '{}' has no value, and the model's input of that name needs one", row,
            field.name));
      }
    }
    return {};
  }

  static Ort::Value text_tensor(const std::vector<data::ColumnView>& columns, std::int64_t rows,
                                const std::vector<std::int64_t>& shape) {
    Ort::AllocatorWithDefaultOptions allocator;
    Ort::Value tensor = Ort::Value::CreateTensor(allocator, shape.data(), shape.size(),
                                                 ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::size_t k = 0; k < columns.size(); ++k) {
        tensor.FillStringTensorElement(std::string(columns[k].text(row)).c_str(),
                                       static_cast<std::size_t>(row) * columns.size() + k);
      }
    }
    return tensor;
  }

  static Result<void> read_output(const Ort::Value& result, std::vector<double>& values) {
    if (!result.IsTensor())
      return unimplemented("the output is no tensor; export the model with zipmap=False");
    const auto info = result.GetTensorTypeAndShapeInfo();
    const std::size_t count = info.GetElementCount();
    const auto copy = [&]<class T>(const T* data) { values.assign(data, data + count); };
    switch (info.GetElementType()) {
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
        copy(result.GetTensorData<float>());
        return {};
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
        copy(result.GetTensorData<double>());
        return {};
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
        copy(result.GetTensorData<std::int64_t>());
        return {};
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
        copy(result.GetTensorData<std::int32_t>());
        return {};
      default:
        return unimplemented("the output holds no numbers");
    }
  }

  mutable Ort::Session session_;  // Run() is thread-safe, and not const
  data::Schema inputs_;
  std::vector<OnnxInput> takes_;
  OnnxOutput gives_;
  Json description_;
  std::size_t width_ = 1;
  bool two_classes_ = false;
};

// The columns that an input stands for.
Result<OnnxInput> describe_input(const Ort::Session& session, std::size_t index,
                                 const MlflowFolder& mlflow, std::size_t inputs,
                                 data::Schema& schema) {
  Ort::AllocatorWithDefaultOptions allocator;
  const std::string name = session.GetInputNameAllocated(index, allocator).get();
  const auto info = session.GetInputTypeInfo(index);
  if (info.GetONNXType() != ONNX_TYPE_TENSOR)
    return unimplemented("input '" + name + "' is no tensor");
  const auto tensor = info.GetTensorTypeAndShapeInfo();
  const auto shape = tensor.GetShape();
  const auto type = column_type(tensor.GetElementType());
  if (!type) return type.error().at("input '" + name + "'");
  if (shape.empty() || shape.size() > 2 || (shape[0] > 0)) {
    return unimplemented(
        fmt::format("input '{}' is not of shape [rows] or [rows, columns] with any "
                    "number of rows",
                    name));
  }
  std::int64_t columns = shape.size() == 1 ? 1 : shape[1];
  if (columns < 0 && inputs == 1) columns = static_cast<std::int64_t>(mlflow.inputs.size());
  if (columns < 1 || columns > kMostOnnxColumns)
    return unimplemented(fmt::format("input '{}' has {} columns", name, columns));
  const bool named = inputs == 1 && static_cast<std::int64_t>(mlflow.inputs.size()) == columns;
  for (std::int64_t k = 0; k < columns; ++k) {
    const std::string column = named          ? mlflow.inputs[static_cast<std::size_t>(k)].name
                               : columns == 1 ? name
                                              : fmt::format("{}_{}", name, k);
    schema.fields.push_back({column, *type, true});
  }
  return OnnxInput{.name = name,
                   .type = tensor.GetElementType(),
                   .columns = static_cast<std::size_t>(columns),
                   .matrix = shape.size() == 2};
}

// Probabilities where there are labels beside them; else the first tensor of numbers.
Result<OnnxOutput> choose_output(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<std::string> numbers;
  std::vector<std::string> labels;
  bool other = false;
  for (std::size_t i = 0; i < session.GetOutputCount(); ++i) {
    const std::string name = session.GetOutputNameAllocated(i, allocator).get();
    const auto info = session.GetOutputTypeInfo(i);
    if (info.GetONNXType() != ONNX_TYPE_TENSOR) {
      other = true;
      continue;
    }
    const auto type = info.GetTensorTypeAndShapeInfo().GetElementType();
    const bool real =
        type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || type == ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
    (real ? numbers : labels).push_back(name);
  }
  if (!labels.empty() && numbers.size() == 1)
    return OnnxOutput{.name = numbers.front(), .classifier = true};
  if (!labels.empty() && other) {
    return unimplemented(
        "its probabilities are a list of maps; export the model with zipmap=False "
        "(skl2onnx: options={'zipmap': False})");
  }
  if (!numbers.empty()) return OnnxOutput{.name = numbers.front()};
  if (!labels.empty()) return OnnxOutput{.name = labels.front()};
  return unimplemented("it has no output of numbers");
}

Result<void> check_external_files(const MlflowFolder& mlflow, const std::filesystem::path& path,
                                  std::string_view bytes) {
  const auto files = external_files(bytes);
  if (!files) return files.error();
  for (const std::string& name : *files) {
    // Relative to the model's own file, and inside its folder.
    const auto relative = std::filesystem::relative(path.parent_path(), mlflow.folder) / name;
    const Json flavor = {{"data", relative.lexically_normal().string()}};
    const bool absolute = std::filesystem::path(name).is_absolute();
    if (auto inside = mlflow.file(flavor, "data"); !inside || absolute) {
      return data_loss("the model keeps tensors in the file '" + name.substr(0, 200) +
                       "', which is not a file inside its folder");
    }
  }
  return {};
}

}  // namespace

Result<ServablePtr> load_onnx(const MlflowFolder& mlflow, const Json& flavor,
                              const RuntimeOptions& options) {
  const auto path = mlflow.file(flavor, "data");
  if (!path) return path.error();
  const auto bytes = read_file(*path);
  if (!bytes) return bytes.error();
  if (auto inside = check_external_files(mlflow, *path, *bytes); !inside)
    return inside.error().at("ONNX model");
  if (auto opened = open_onnxruntime(options.onnxruntime); !opened) return opened.error();
  try {
    Ort::SessionOptions settings;
    settings.SetIntraOpNumThreads(1);
    settings.SetInterOpNumThreads(1);
    settings.DisableCpuMemArena();
    settings.DisableMemPattern();
    Ort::Session session(onnx_environment(), path->c_str(), settings);
    data::Schema schema;
    std::vector<OnnxInput> takes;
    for (std::size_t i = 0; i < session.GetInputCount(); ++i) {
      auto input = describe_input(session, i, mlflow, session.GetInputCount(), schema);
      if (!input) return input.error().at("ONNX model");
      takes.push_back(std::move(*input));
    }
    if (takes.empty()) return unimplemented("ONNX model: it takes no inputs");
    auto gives = choose_output(session);
    if (!gives) return gives.error().at("ONNX model");
    auto model =
        std::make_unique<OnnxModel>(std::move(session), std::move(schema), std::move(takes),
                                    std::move(*gives), mlflow.describe("onnx"));
    if (auto learned = model->learn_width(); !learned) return learned.error().at("ONNX model");
    return model;
  } catch (const Ort::Exception& e) {
    // Callers may read this: where the server keeps its files is not theirs to know.
    std::string why = e.what();
    const std::string place = path->string();
    for (auto at = why.find(place); at != std::string::npos; at = why.find(place, at))
      why.replace(at, place.size(), path->filename().string());
    return data_loss("ONNX model: ONNX Runtime refuses it: " + why);
  }
}

}  // namespace slipway::models
