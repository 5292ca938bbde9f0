// Between an answer and the prediction log, for deployments with declared sensitive inputs: leaves
// out what is masked and seals what is encrypted, on a thread of its own, as a subject's first key
// is a write to the database.
#pragma once
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "serving/prediction_log.h"
#include "serving/served.h"
#include "serving/subject_keys.h"

namespace slipway::serving {

class SensitiveLog {
 public:
  // Both outlive this. keys: null when nothing can be encrypted.
  SensitiveLog(PredictionLog& log, SubjectKeys* keys) : log_(log), keys_(keys) {}
  ~SensitiveLog();  // what was taken is logged first

  // As PredictionLog::append, for the rows of an inference, which it keeps alive. `batch` borrows
  // from the inference.
  Result<void> append(const std::shared_ptr<Inference>& inference, const PredictionBatch& batch,
                      PredictionLog::Done done);

 private:
  struct Task {
    std::shared_ptr<Inference> inference;
    PredictionBatch batch;
    PredictionLog::Done done;
  };
  void run();
  Result<void> protect(Task& task);

  PredictionLog& log_;
  SubjectKeys* keys_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::thread thread_;  // from the first task on
};

// What an encrypted input's value is sealed under, beside its subject.
std::string sealing_context(std::string_view deployment, std::string_view id,
                            std::string_view input);
// A logged prediction's inputs as they came: sealed ones are opened. not_found: a subject was
// erased.
Result<void> open_inputs(const SubjectKeys& keys, Prediction& prediction);

}  // namespace slipway::serving
