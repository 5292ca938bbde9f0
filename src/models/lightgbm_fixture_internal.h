// For tests: LightGBM's own library, opened from where ./dev setup puts it. Functions as declared
// in its include/LightGBM/c_api.h (4.x).
#pragma once
#include <dlfcn.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace slipway::models {

class LightgbmLibrary {
 public:
  using Handle = void*;

  static const LightgbmLibrary& get() {
    static const LightgbmLibrary library;
    return library;
  }

  // The text of a model. values [rows, cols].
  std::string train(const std::vector<double>& values, std::size_t rows, std::size_t cols,
                    const std::vector<float>& labels, const std::string& parameters,
                    int rounds) const {
    Handle data = nullptr;
    check(dataset_(values.data(), kFloat64, static_cast<std::int32_t>(rows),
                   static_cast<std::int32_t>(cols), 1, parameters.c_str(), nullptr, &data));
    check(set_field_(data, "label", labels.data(), static_cast<int>(labels.size()), kFloat32));
    Handle booster = nullptr;
    check(create_(data, parameters.c_str(), &booster));
    for (int round = 0; round < rounds; ++round) {
      int finished = 0;
      check(update_(booster, &finished));
      if (finished != 0) break;
    }
    std::int64_t size = 0;
    check(save_(booster, 0, -1, 0, 0, &size, nullptr));
    std::string text(static_cast<std::size_t>(size), '\0');
    check(save_(booster, 0, -1, 0, size, &size, text.data()));
    text.resize(static_cast<std::size_t>(size) - 1);  // without the closing zero
    free_booster_(booster);
    free_dataset_(data);
    return text;
  }

  // kind 0: scores; 3: contributions.
  std::vector<double> predict(const std::string& model, const std::vector<double>& values,
                              std::size_t rows, std::size_t cols, int kind,
                              std::size_t per_row) const {
    Handle booster = nullptr;
    int iterations = 0;
    check(load_(model.c_str(), &iterations, &booster));
    std::vector<double> out(rows * per_row);
    std::int64_t count = 0;
    check(predict_(booster, values.data(), kFloat64, static_cast<std::int32_t>(rows),
                   static_cast<std::int32_t>(cols), 1, kind, 0, -1, "num_threads=1", &count,
                   out.data()));
    free_booster_(booster);
    if (count != static_cast<std::int64_t>(out.size()))
      throw std::runtime_error("LightGBM gives " + std::to_string(count) + " values");
    return out;
  }

 private:
  static constexpr int kFloat32 = 0;
  static constexpr int kFloat64 = 1;

  LightgbmLibrary() {
    constexpr const char* kPath = ".deps/lightgbm/lib/lib_lightgbm.so";
    library_ = dlopen(kPath, RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) throw std::runtime_error(dlerror());
    find("LGBM_DatasetCreateFromMat", dataset_);
    find("LGBM_DatasetSetField", set_field_);
    find("LGBM_BoosterCreate", create_);
    find("LGBM_BoosterUpdateOneIter", update_);
    find("LGBM_BoosterSaveModelToString", save_);
    find("LGBM_BoosterLoadModelFromString", load_);
    find("LGBM_BoosterPredictForMat", predict_);
    find("LGBM_BoosterFree", free_booster_);
    find("LGBM_DatasetFree", free_dataset_);
    find("LGBM_GetLastError", error_);
  }

  template <class Function>
  void find(const char* name, Function& into) {
    into = reinterpret_cast<Function>(dlsym(library_, name));
    if (into == nullptr) throw std::runtime_error(std::string("LightGBM has no ") + name);
  }
  void check(int status) const {
    if (status != 0) throw std::runtime_error(error_());
  }

  void* library_ = nullptr;
  int (*dataset_)(const void*, int, std::int32_t, std::int32_t, int, const char*, Handle,
                  Handle*) = nullptr;
  int (*set_field_)(Handle, const char*, const void*, int, int) = nullptr;
  int (*create_)(Handle, const char*, Handle*) = nullptr;
  int (*update_)(Handle, int*) = nullptr;
  int (*save_)(Handle, int, int, int, std::int64_t, std::int64_t*, char*) = nullptr;
  int (*load_)(const char*, int*, Handle*) = nullptr;
  int (*predict_)(Handle, const void*, int, std::int32_t, std::int32_t, int, int, int, int,
                  const char*, std::int64_t*, double*) = nullptr;
  int (*free_booster_)(Handle) = nullptr;
  int (*free_dataset_)(Handle) = nullptr;
  const char* (*error_)() = nullptr;
};

}  // namespace slipway::models
