#include "api/inference_core_internal.h"

#include <fmt/ranges.h>

#include "api/trace_context.h"
#include "base/spec.h"
#include "serving/batcher.h"

namespace slipway::api {
namespace {

using server::Request;
using serving::Served;
using serving::Target;

constexpr int kApartThreads = 2;

// Who answers a request that names no version: the arm its header names, else as the deployment's
// weights say.
Result<void> choose(const Request& request, Addressed& addressed) {
  const Served& served = *addressed.served;
  if (const std::string_view arm = request.header("x-slipway-arm"); !arm.empty()) {
    addressed.target = served.arm(arm);
    if (addressed.target != nullptr) return {};
    std::vector<std::string> arms{served.deployment().alias};
    for (const Target& canary : served.canaries()) arms.push_back(canary.alias);
    return invalid_argument(fmt::format("the header x-slipway-arm names '{}'; who can answer: {}",
                                        arm, fmt::join(arms, ", ")));
  }
  const std::string& sticky = served.deployment().sticky;
  addressed.target = served.route(sticky.empty() ? std::string_view() : request.header(sticky));
  addressed.routed = true;
  return {};
}

void count_error(const Served& served, Code code) {
  served.stats().errors[static_cast<std::size_t>(code)].fetch_add(1, std::memory_order_relaxed);
}

Result<Time> time_of(const Clock& clock, const Served& served, const Request& request) {
  const std::string_view header = request.header("x-slipway-time");
  const std::string& name = served.deployment().name;
  if (served.deployment().clock == serving::ClockSource::wall) {
    if (!header.empty()) {
      return invalid_argument(
          fmt::format("the header x-slipway-time is only for deployments with 'clock: request'; "
                      "'{}' goes by the server's clock",
                      name));
    }
    return clock.now();
  }
  if (header.empty()) {
    return invalid_argument(fmt::format(
        "deployment '{}' takes its time from the request: send the header x-slipway-time, "
        "for example 2013-04-01T05:00:00Z",
        name));
  }
  auto time = parse_time(header);
  if (!time) return time.error().at("header x-slipway-time");
  return *time;
}

void name_predictions(IdSource& ids, const InferRequest& request, serving::Inference& inference) {
  inference.new_ids = request.id.empty();
  std::string base = request.id.empty() ? ids.next() : request.id;
  if (request.rows == 1) {
    inference.ids.push_back(std::move(base));
    return;
  }
  for (std::int64_t row = 0; row < request.rows; ++row)
    inference.ids.push_back(fmt::format("{}:{}", base, row));
}

// The time the caller gives: in the request's own parameter, or with the call.
Result<void> in_time(SteadyTime now, const std::optional<SteadyTime>& deadline,
                     const InferRequest& request, SteadyTime started) {
  if (deadline && now >= *deadline)
    return deadline_exceeded("the caller's deadline passed before the model was asked");
  if (request.timeout.count() > 0 && now - started >= request.timeout) {
    return deadline_exceeded(
        fmt::format("the request's timeout of {} us passed before the model was asked",
                    request.timeout.count()));
  }
  return {};
}

}  // namespace

struct InferenceCore::Call {
  Addressed addressed;
  std::string caller;
  SteadyTime started;
  std::optional<SteadyTime> deadline;
  std::shared_ptr<const Request> request;
  std::shared_ptr<Exchange> exchange;

  void answer(const Result<void>& outcome) const {
    addressed.served->stats().in_flight.fetch_sub(1, std::memory_order_relaxed);
    if (!outcome) count_error(*addressed.served, outcome.error().code);
    exchange->done(outcome);
  }
};

// A call whose rows are read.
struct InferenceCore::Ready {
  Call call;
  std::shared_ptr<serving::Inference> inference;
  InferRequest parsed;
};

InferenceCore::InferenceCore(serving::ModelHost& models, const Clock& time, IdSource& id_source,
                             InferenceOptions settings)
    : host(models),
      clock(time),
      ids(id_source),
      options(std::move(settings)),
      apart_(kApartThreads) {}

InferenceCore::~InferenceCore() = default;

Error InferenceCore::unknown_model(const Principal& asks, std::string_view name) const {
  std::vector<std::string> names;
  for (const auto& served : host.all()) {
    if (sees(asks, "deployment", served->deployment().name))
      names.push_back(served->deployment().name);
  }
  if (names.empty())
    return not_found(fmt::format("no model '{}' is deployed, nor is any other", name));
  if (const auto near = nearest(name, names))
    return not_found(fmt::format("no model '{}' is deployed; did you mean '{}'?", name, *near));
  return not_found(
      fmt::format("no model '{}' is deployed; there is {}", name, fmt::join(names, ", ")));
}

Result<Addressed> InferenceCore::address(const Principal& asks, const Request& request) const {
  const std::string_view name = request.param("model");
  auto served = host.find(name);
  if (served == nullptr) return unknown_model(asks, name);
  const std::string_view version = request.param("version");
  if (version.empty()) {
    if (served->primary() == nullptr) {
      return unavailable(fmt::format("model '{}' has no version that answers: {}", name,
                                     fmt::join(served->problems(), "; ")));
    }
    const Target* primary = served->primary();
    return Addressed{.served = std::move(served), .target = primary};
  }
  std::int64_t number = 0;
  const auto [end, error] =
      std::from_chars(version.data(), version.data() + version.size(), number);
  const bool is_number = error == std::errc() && end == version.data() + version.size();
  if (const Target* target = is_number ? served->find(number) : nullptr)
    return Addressed{.served = std::move(served), .target = target};
  std::vector<std::int64_t> loaded;
  if (served->primary() != nullptr) loaded.push_back(served->primary()->version.number);
  for (const auto* others : {&served->canaries(), &served->shadows()}) {
    for (const auto& other : *others) loaded.push_back(other.version.number);
  }
  return not_found(fmt::format("version '{}' of model '{}' is not loaded; loaded: {}", version,
                               name, fmt::join(loaded, ", ")));
}

Result<void> InferenceCore::read(Ready& ready) {
  Call& call = ready.call;
  serving::Inference& inference = *ready.inference;
  auto time = time_of(clock, *inference.served, *call.request);
  if (!time) return time.error();
  inference.time = *time;
  auto parsed = call.exchange->read(inference);
  if (!parsed) return parsed.error();
  ready.parsed = std::move(*parsed);
  // Last, as reading takes its time: nobody computes for callers who no longer wait.
  if (!call.exchange->wanted()) return cancelled("the caller went away");
  if (auto fine = in_time(clock.steady(), call.deadline, ready.parsed, call.started); !fine)
    return fine;
  name_predictions(ids, ready.parsed, inference);
  return {};
}

std::optional<InferenceCore::Ready> InferenceCore::prepare(Call call) {
  const Served& served = *call.addressed.served;
  served.stats().in_flight.fetch_add(1, std::memory_order_relaxed);
  Ready ready{.call = std::move(call), .inference = served.begin(), .parsed = {}};
  serving::Inference& inference = *ready.inference;
  inference.target = ready.call.addressed.target;
  inference.routed = ready.call.addressed.routed;
  inference.caller = ready.call.caller;
  if (const std::string_view trace = ready.call.request->header("traceparent");
      is_traceparent(trace)) {
    inference.trace = trace;
  }
  inference.started = ready.call.started;
  if (auto fine = read(ready); !fine) {
    ready.call.answer(fine);
    return std::nullopt;
  }
  return ready;
}

// Writes the answer, which is sent when the log has it.
void InferenceCore::finish(Ready& ready, const Result<void>& scored) {
  if (!scored) return ready.call.answer(scored);
  ready.call.exchange->write(ready.parsed, *ready.inference);
  ready.call.request.reset();
  auto committed = host.commit(
      ready.inference, [call = ready.call](const Result<void>& logged) { call.answer(logged); });
  if (!committed) ready.call.answer(committed);
}

void InferenceCore::run(Call call) {
  if (auto ready = prepare(std::move(call))) finish(*ready, host.score(*ready->inference));
}

// The first call that waits, with those behind it that go to the same version.
std::vector<InferenceCore::Call> InferenceCore::take_waiting() {
  std::vector<Call> taken;
  std::unique_lock lock(waiting_mutex_);
  if (waiting_.empty()) return taken;
  if (options.batch_delay.count() > 0) {
    more_waiting_.wait_for(lock, options.batch_delay,
                           [&] { return waiting_.size() >= options.max_batch; });
    if (waiting_.empty()) return taken;
  }
  taken.push_back(std::move(waiting_.front()));
  waiting_.pop_front();
  const auto same = [&](const Call& other) {
    return other.addressed.served == taken.front().addressed.served &&
           other.addressed.target == taken.front().addressed.target;
  };
  for (auto at = waiting_.begin(); at != waiting_.end() && taken.size() < options.max_batch;) {
    if (!same(*at)) {
      ++at;
      continue;
    }
    taken.push_back(std::move(*at));
    at = waiting_.erase(at);
  }
  return taken;
}

void InferenceCore::run_waiting() {
  std::vector<Ready> all;
  for (Call& call : take_waiting()) {
    if (auto ready = prepare(std::move(call))) all.push_back(std::move(*ready));
  }
  while (!all.empty()) {
    const std::shared_ptr<serving::Inference> first = all.front().inference;
    const auto others = std::stable_partition(all.begin(), all.end(), [&](const Ready& one) {
      return serving::batchable(*one.inference, *first);
    });
    std::vector<serving::Inference*> members;
    for (auto at = all.begin(); at != others; ++at) members.push_back(at->inference.get());
    const std::vector<Result<void>> scored = serving::score_together(host, members);
    for (std::size_t i = 0; i < scored.size(); ++i) finish(all[i], scored[i]);
    all.erase(all.begin(), others);
  }
}

void InferenceCore::infer(const Context& ctx, std::shared_ptr<const Request> request,
                          std::size_t bytes, std::shared_ptr<Exchange> exchange) {
  Call call{.addressed = {},
            .caller = ctx.principal.name,
            .started = clock.steady(),
            .deadline = ctx.deadline,
            .request = std::move(request),
            .exchange = std::move(exchange)};
  auto addressed = address(ctx.principal, *call.request);
  if (!addressed) return call.exchange->done(addressed.error());
  call.addressed = std::move(*addressed);
  if (call.request->param("version").empty()) {
    if (auto chosen = choose(*call.request, call.addressed); !chosen)
      return call.exchange->done(chosen);
  }
  if (bytes <= options.large_body && !call.addressed.target->scorer->blocks())
    return run(std::move(call));
  {
    const std::scoped_lock lock(waiting_mutex_);
    if (waiting_.size() < options.max_waiting) {
      waiting_.push_back(std::move(call));
      more_waiting_.notify_one();
      apart_.post([this] { run_waiting(); });
      return;
    }
  }
  count_error(*call.addressed.served, Code::resource_exhausted);
  call.exchange->done(resource_exhausted(fmt::format(
      "{} requests wait already, which is the most that are let in: try again in a moment",
      options.max_waiting)));
}

}  // namespace slipway::api
