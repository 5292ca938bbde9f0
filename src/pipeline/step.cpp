#include "pipeline/step.h"

namespace slipway::pipeline {

StepConfig::StepConfig(std::string step, std::shared_ptr<const SpecDocument> document,
                       std::string pointer, std::vector<std::string> engine_keys,
                       std::filesystem::path folder)
    : step_(std::move(step)),
      document_(std::move(document)),
      pointer_(std::move(pointer)),
      engine_keys_(std::move(engine_keys)),
      folder_(std::move(folder)) {
  json_ = document_->root().value(Json::json_pointer(pointer_), Json::object());
  for (const auto& key : engine_keys_) json_.erase(key);
}

SpecReader StepConfig::reader() const {
  SpecReader reader(document_, pointer_);
  for (const auto& key : engine_keys_) reader.json(key);
  return reader;
}

std::string StepConfig::place(std::string_view key) const {
  return document_->place(key.empty() ? pointer_ : pointer_ + "/" + std::string(key));
}

std::filesystem::path StepConfig::resolve(std::string_view path) const {
  return (folder_ / std::filesystem::path(path)).lexically_normal();
}

std::filesystem::path StepConfig::path(std::string_view key) const {
  const auto value = json_.find(key);
  return value != json_.end() && value->is_string() ? resolve(value->get_ref<const std::string&>())
                                                    : folder_;
}

}  // namespace slipway::pipeline
