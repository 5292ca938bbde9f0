#include "base/json.h"
#include "data/cell_json.h"
#include "serving/sensitive_internal.h"
#include "serving/wal_internal.h"

namespace slipway::serving {
namespace {

constexpr std::size_t kMostWaiting = 4096;

void copy_value(const data::ColumnView& from, std::int64_t row, std::size_t column,
                data::BatchBuilder& into) {
  if (from.is_null(row)) return into.append_null(column);
  switch (from.type) {
    case data::Type::boolean:
      return into.append_boolean(column, from.boolean(row));
    case data::Type::int64:
    case data::Type::timestamp:
      return into.append_integer(column, from.integer(row));
    case data::Type::float64:
      return into.append_real(column, from.real(row));
    case data::Type::text:
      return into.append_text(column, from.text(row));
  }
}

std::string json_text_of(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string sealing_context(std::string_view deployment, std::string_view id,
                            std::string_view input) {
  return fmt::format("{}/{}/{}", deployment, id, input);
}

Result<void> open_inputs(const SubjectKeys& keys, Prediction& prediction) {
  for (auto& [name, value] : prediction.inputs.items()) {
    if (!value.is_string() || !SubjectKeys::is_sealed(value.get_ref<const std::string&>()))
      continue;
    auto text = keys.unseal(value.get_ref<const std::string&>(),
                            sealing_context(prediction.deployment, prediction.id, name));
    if (!text) return text.error().at("input '" + name + "'");
    auto json = parse_json(*text, "a sealed value");
    if (!json) return json.error();
    value = std::move(*json);
  }
  return {};
}

Result<void> SensitiveLog::append(const std::shared_ptr<Inference>& inference,
                                  const PredictionBatch& batch, PredictionLog::Done done) {
  const std::scoped_lock lock(mutex_);
  if (tasks_.size() >= kMostWaiting) {
    return resource_exhausted(
        "the prediction log does not keep up with sealing inputs; send fewer requests at once");
  }
  tasks_.push_back({inference, batch, std::move(done)});
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  work_.notify_one();
  return {};
}

SensitiveLog::~SensitiveLog() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    work_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void SensitiveLog::run() {
  while (true) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [&] { return !tasks_.empty() || stopping_; });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    if (auto logged = protect(task); !logged && task.done) task.done(logged);
  }
}

Result<void> SensitiveLog::protect(Task& task) {
  const Deployment& deployment = task.inference->served->deployment();
  const data::Batch& inputs = *task.batch.inputs;
  const auto named = [](const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  data::Schema schema = *inputs.schema;
  data::Batch plain = inputs;  // of what is neither masked nor encrypted
  plain.columns.clear();
  const data::ColumnView* subject = nullptr;
  for (std::size_t i = 0; i < schema.fields.size(); ++i) {
    data::Field& field = schema.fields[i];
    if (field.name == deployment.subject) subject = &inputs.columns[i];
    if (named(deployment.encrypt, field.name)) {
      field.type = data::Type::text;
    } else if (!named(deployment.mask, field.name)) {
      plain.columns.push_back(inputs.columns[i]);
    }
  }
  if (!deployment.encrypt.empty() && (keys_ == nullptr || subject == nullptr)) {
    return failed_precondition(
        fmt::format("deployment '{}' encrypts inputs under '{}', which is no input of its model",
                    deployment.name, deployment.subject));
  }
  data::BatchBuilder rows(schema);
  std::vector<std::uint64_t> hashes;
  for (std::int64_t row = 0; row < inputs.rows; ++row) {
    const std::string& id = task.batch.ids[static_cast<std::size_t>(row)];
    hashes.push_back(wal::hash_of_row(plain, row));
    for (std::size_t i = 0; i < schema.fields.size(); ++i) {
      const std::string& name = schema.fields[i].name;
      const data::ColumnView& from = inputs.columns[i];
      if (named(deployment.mask, name) || from.is_null(row)) {
        rows.append_null(i);
        continue;
      }
      if (!named(deployment.encrypt, name)) {
        copy_value(from, row, i, rows);
        continue;
      }
      // A row that names nobody has its values sealed under nobody's key, the same for all.
      const std::string whose =
          subject->is_null(row) ? "" : json_text_of(data::cell_json(*subject, row));
      auto sealed = keys_->seal(whose, json_text_of(data::cell_json(from, row)),
                                sealing_context(deployment.name, id, name));
      if (!sealed) return sealed.error();
      rows.append_text(i, *sealed);
    }
  }
  auto protected_rows = rows.batch();
  if (!protected_rows) return protected_rows.error();
  PredictionBatch batch = task.batch;
  batch.inputs = &*protected_rows;
  batch.input_hashes = hashes;
  return log_.append(batch, task.done);
}

}  // namespace slipway::serving
