// One inference on its way through, whatever protocol it came by: who is to answer it, whether
// there is room for it, its rows, scores and log. The protocols bring an Exchange, which reads
// their request and writes their answer.
//   InferenceCore core(host, clock, ids, {});
//   core.infer(ctx, request, bytes, std::make_shared<RestExchange>(…));
// Thread-safe; infer() does not block.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "api/inference_api.h"
#include "api/inference_internal.h"
#include "base/context.h"
#include "base/parallel.h"

namespace slipway::api {

// One request and its answer, in a protocol's own form. read, write and done come in this order
// from one thread at a time; done comes once, whatever happens.
class Exchange {
 public:
  virtual ~Exchange() = default;
  // Fills the rows of the inference.
  virtual Result<InferRequest> read(serving::Inference& inference) = 0;
  // Makes the answer of a scored inference; it is sent by done().
  virtual void write(const InferRequest& request, const serving::Inference& inference) = 0;
  virtual void done(const Result<void>& outcome) = 0;
  // Whether the caller still waits.
  virtual bool wanted() const { return true; }
};

struct Addressed {
  std::shared_ptr<const serving::Served> served;
  const serving::Target* target = nullptr;
  bool routed = false;  // the target is the deployment's choice, not the caller's
};

class InferenceCore {
 public:
  InferenceCore(serving::ModelHost& models, const Clock& time, IdSource& id_source,
                InferenceOptions settings);
  ~InferenceCore();

  // The deployment and version that params "model" and "version" name; not_found, or unavailable
  // when nothing is loaded yet.
  Result<Addressed> address(const Principal& asks, const server::Request& request) const;
  Error unknown_model(const Principal& asks, std::string_view name) const;
  // request: headers and params; its body is the exchange's affair. bytes: how large the call is.
  void infer(const Context& ctx, std::shared_ptr<const server::Request> request, std::size_t bytes,
             std::shared_ptr<Exchange> exchange);

  serving::ModelHost& host;
  const Clock& clock;
  IdSource& ids;
  const InferenceOptions options;

 private:
  struct Call;
  struct Ready;
  // Reads the request; nothing: it was answered with an error.
  std::optional<Ready> prepare(Call call);
  Result<void> read(Ready& ready);
  void finish(Ready& ready, const Result<void>& scored);
  void run(Call call);
  void run_waiting();
  std::vector<Call> take_waiting();

  // Calls for the threads of `apart_`: what would hold up an io thread.
  std::mutex waiting_mutex_;
  std::condition_variable more_waiting_;
  std::deque<Call> waiting_;
  WorkerPool apart_;  // last: its threads use the others
};

}  // namespace slipway::api
