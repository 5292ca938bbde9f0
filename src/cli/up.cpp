// `slipway up`: the server. One process answers MLflow's clients, Open Inference clients,
// Prometheus and slipway's own API, and keeps monitoring and the feedback loop going.
#include <iostream>

#include "api/grpc_server.h"
#include "api/metrics_api.h"
#include "base/log.h"
#include "cli/child.h"
#include "cli/command_internal.h"
#include "cli/gate.h"
#include "cli/hangup.h"
#include "cli/memory.h"
#include "cli/routes.h"
#include "feedback/outcomes.h"
#include "jobs/worker.h"
#include "server/server.h"
#include "serving/model_cache.h"
#include "serving/model_host.h"
#include "serving/model_source.h"

namespace slipway::cli {
namespace {

constexpr std::chrono::milliseconds kKeepEvery{250};
constexpr int kWebhookThreads = 4;
// Most of them wait for the disk: those that wait together share one flush of it.
constexpr int kWorkers = 32;

struct UpFlags {
  std::string address = "127.0.0.1";
  int port = 5000;
  int grpc_port = 5001;
  bool grpc_port_given = false;
  bool no_grpc = false;
  std::vector<std::string> webhook_hosts;
  std::vector<std::string> model_sources;
  std::vector<std::string> host_names;
  std::string tls_certificate;
  std::string tls_key;
  models::RuntimeOptions runtime;
  bool auth = false;
  bool insecure_http = false;
  bool open_metrics = false;
  std::int64_t model_memory_mb = 0;
  bool verbose = false;
};

// A round of slipway's own work every so often, until it is to stop.
template <class Round>
void in_rounds(const std::stop_token& stop, const Round& round) {
  Context ctx;
  ctx.principal.name = "slipway";
  ctx.stop = stop;
  std::mutex sleep_mutex;
  std::condition_variable_any sleep;
  while (!stop.stop_requested()) {
    round(ctx);
    std::unique_lock lock(sleep_mutex);
    sleep.wait_for(lock, stop, kKeepEvery, [] { return false; });
  }
}

// What goes on without anybody asking: models follow the registry, windows are evaluated,
// challengers judged, webhooks delivered, the audit log's head signed.
class Keeper {
 public:
  Keeper(Home& home, serving::ModelHost& host) : home_(home), host_(host) {}

  // Whoever asks for it, what is done is done by slipway itself.
  Result<void> catch_up(Context ctx) {
    ctx.principal.name = "slipway";
    const std::scoped_lock lock(mutex_);
    while (true) {
      auto watched = home_.monitor().step(ctx, home_.clock().now());
      if (!watched) return watched.error();
      auto looped = home_.loop().step(ctx);
      if (!looped) return looped.error();
      if (!watched->more && *looped == 0) break;
    }
    return host_.refresh();
  }

  void run(const std::stop_token& stop) {
    in_rounds(stop, [this](const Context& ctx) {
      if (auto live = home_.live_views()->refresh(ctx); !live) note("feature views", live.error());
      note("monitoring", catch_up(ctx));
      note("rollouts",
           home_.rollouts().step(
               ctx,
               [this](const std::string& deployment, std::int64_t version, std::int64_t slow_us) {
                 return routed(deployment, version, slow_us);
               },
               [this](const std::string& name, Time from) { return outcomes(name, from); }));
      note("retention", expire(ctx));
      give_memory_back();
      if (auto sent = home_.monitor().deliver(ctx, home_.clock().now()); !sent)
        note("webhooks", sent.error());
      if (auto head = home_.audit().checkpoint(); !head) note("audit checkpoint", head.error());
    });
  }

 private:
  serving::ArmCounts routed(const std::string& deployment, std::int64_t version,
                            std::int64_t slow_us) const {
    for (const auto& row : host_.routed_stats()) {
      if (row.deployment == deployment && row.version == version)
        return serving::counts_of(*row.stats, slow_us);
    }
    return {};
  }

  Result<std::vector<serving::Outcome>> outcomes(const std::string& name, Time from) {
    auto deployment = home_.deployments().get(name);
    if (!deployment) return deployment.error();
    return feedback::outcomes_of(home_.predictions(), home_.labels(), *deployment, from);
  }

  // Predictions that deployments keep no longer, once an hour.
  Result<void> expire(const Context& ctx) {
    constexpr std::chrono::hours kEvery{1};
    const Time now = home_.clock().now();
    if (expired_at_ && now - *expired_at_ < kEvery) return {};
    expired_at_ = now;
    auto deployments = home_.deployments().list();
    if (!deployments) return deployments.error();
    for (const serving::Deployment& deployment : *deployments) {
      if (deployment.keep.count() == 0) continue;
      const Time before = now - deployment.keep;
      auto rows = home_.predictions().remove_before(deployment.name, before);
      if (!rows) return rows.error();
      if (*rows == 0) continue;
      auto noted =
          home_.audit().record({.actor = ctx.principal.name,
                                .action = "predictions.expire",
                                .object = "deployments/" + deployment.name,
                                .details = {{"rows", *rows}, {"before", format_time(before)}}});
      if (!noted) return noted.error();
    }
    return {};
  }

  // Windows and labels are read as whole tables: what they took is given back to the machine, now
  // and then, instead of staying with the allocator at its highest.
  void give_memory_back() {
    constexpr std::chrono::seconds kEvery{5};
    const SteadyTime now = home_.clock().steady();
    if (trimmed_at_ && now - *trimmed_at_ < kEvery) return;
    trimmed_at_ = now;
    release_memory();
  }

  static void note(std::string_view what, const Result<void>& outcome) {
    if (!outcome && outcome.error().code != Code::cancelled)
      log::error("a round of the keeper failed",
                 {{"part", what}, {"error", outcome.error().message}});
  }

  Home& home_;
  serving::ModelHost& host_;
  std::mutex mutex_;
  std::optional<Time> expired_at_;
  std::optional<SteadyTime> trimmed_at_;
};

// On threads of its own: a receiver that hangs must not hold up the keeper, nor all the others.
void tell_webhooks(Home& home, const std::stop_token& stop) {
  in_rounds(stop, [&home](const Context& ctx) {
    if (auto told = home.webhooks().deliver(ctx); !told && told.error().code != Code::cancelled)
      log::error("a round of the webhooks failed", {{"error", told.error().message}});
  });
}

// Where this machine's own programs find the server. A server on all addresses is on loopback, too;
// with TLS it is called by a name of its certificate.
std::string url_of(const UpFlags& flags, int port) {
  const bool tls = !flags.tls_certificate.empty();
  const bool everywhere = flags.address == "0.0.0.0" || flags.address == "::";
  std::string host = everywhere ? "127.0.0.1" : flags.address;
  if (tls && !flags.host_names.empty()) host = flags.host_names.front();
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return fmt::format("{}://{}:{}", tls ? "https" : "http", host, port);
}

// The gRPC port. Nothing: it is off, as nobody asked for it and the usual port is taken.
Result<std::unique_ptr<api::GrpcServer>> start_grpc(const UpFlags& flags, Home& home,
                                                    const server::Router& router,
                                                    serving::ModelHost& host) {
  if (flags.no_grpc) return std::unique_ptr<api::GrpcServer>();
  auto started = api::GrpcServer::start({.address = flags.address,
                                         .port = flags.grpc_port,
                                         .tls_certificate = flags.tls_certificate,
                                         .tls_key = flags.tls_key},
                                        router, host, home.clock(), home.ids());
  if (started || flags.grpc_port_given) return started;
  log::warn("gRPC is off", {{"error", started.error().message}});
  return std::unique_ptr<api::GrpcServer>();
}

int serve(const Globals& globals, const UpFlags& flags) {
  log::set_level(flags.verbose ? log::Level::debug : log::Level::info);
  HangupWatch hangup;  // before any other thread: they inherit what it blocks
  const Context ctx = interruptible_context("slipway");
  if (auto safe = check_exposure({.address = flags.address,
                                  .auth = flags.auth,
                                  .tls = !flags.tls_certificate.empty(),
                                  .insecure_http = flags.insecure_http});
      !safe) {
    return fail(safe.error());
  }
  return with_home(
      globals,
      {.serving = true, .webhook_hosts = flags.webhook_hosts, .model_sources = flags.model_sources},
      [&](Home& home) {
        if (auto sound = home.audit().status(); !sound) return fail(sound.error());
        if (auto recovered = home.engine().recover(ctx); !recovered) return fail(recovered.error());
        if (auto recovered = home.queue().recover(); !recovered) return fail(recovered.error());
        if (auto live = home.live_views()->refresh(ctx); !live) return fail(live.error());
        serving::RegistrySource source(home.db(), home.registry(), home.blobs(),
                                       home.folder() / "cache");
        models::RuntimeOptions runtime = flags.runtime;
        runtime.views = home.live_views();
        source.serve_mlflow(home.tracking(), std::move(runtime));
        const serving::ModelCache models(source, {.budget_bytes = flags.model_memory_mb << 20,
                                                  .outlines = home.folder() / "cache"});
        serving::ModelHost host(home.deployments(), models, home.predictions(), home.clock(),
                                {.subject_keys = &home.subject_keys()});
        if (auto loaded = host.refresh(); !loaded) return fail(loaded.error());
        host.start();
        Keeper keeper(home, host);

        Routes routes(home, host, source,
                      [&](const Context& request) { return keeper.catch_up(request); });
        api::add_model_memory_metrics(routes.metrics(), models);
        std::atomic<server::HttpServer*> serving{
            nullptr};  // answers before start() returns, and may be asked for /metrics then
        api::add_server_metrics(routes.metrics(), [&] {
          const server::HttpServer* running = serving.load();
          return running == nullptr ? server::ServerStats{} : running->stats();
        });
        std::unique_ptr<Gate> gate;
        if (flags.auth) {
          auto opened = Gate::open(home, ctx);
          if (!opened) return fail(opened.error());
          gate = *std::move(opened);
          gate->add_routes(routes.router());
          gate->add_metrics(routes.metrics());
          gate->close(routes.router(), {.open_metrics = flags.open_metrics});
        }
        auto grpc_started = start_grpc(flags, home, routes.router(), host);
        if (!grpc_started) return fail(grpc_started.error());
        const std::unique_ptr<api::GrpcServer> grpc = std::move(*grpc_started);
        auto started = server::HttpServer::start({.address = flags.address,
                                                  .port = flags.port,
                                                  .worker_threads = kWorkers,
                                                  .host_names = flags.host_names,
                                                  .tls_certificate = flags.tls_certificate,
                                                  .tls_key = flags.tls_key},
                                                 routes.router(), home.clock(), home.ids());
        if (!started) return fail(started.error());
        const std::unique_ptr<server::HttpServer> http = std::move(*started);
        serving = http.get();
        hangup.on_signal([&] {
          if (auto read = http->reload_tls(); !read)
            return log::error("the old TLS certificate stays", {{"error", read.error().message}});
          log::info("TLS certificate read anew");
        });
        const std::string url = url_of(flags, http->port());

        jobs::Worker worker(home.queue(), home.clock(),
                            {.name = "server", .poll_every = std::chrono::milliseconds(100)});
        worker.handle(feedback::Loop::kRetrainJob,
                      [&](const Context& job_ctx, const jobs::Job& job) {
                        if (gate == nullptr)
                          return run_pipeline_job(job_ctx, job, home.folder(), url, "");
                        auto token = gate->token_for_job(job.id, job.payload.value("actor", ""));
                        if (!token) return Result<Json>(token.error());
                        return run_pipeline_job(job_ctx, job, home.folder(), url, token->text());
                      });
        worker.start();
        jobs::Worker importer(home.queue(), home.clock(),
                              {.name = "imports", .poll_every = std::chrono::milliseconds(500)});
        importer.handle(api::Imports::kJob, [&](const Context& job_ctx, const jobs::Job& job) {
          return routes.imports().work(job_ctx, job);
        });
        importer.start();
        std::jthread keeping([&](const std::stop_token& stop) { keeper.run(stop); });
        std::vector<std::jthread> telling;
        for (int i = 0; i < kWebhookThreads; ++i) {
          telling.emplace_back([&](const std::stop_token& stop) { tell_webhooks(home, stop); });
        }
        std::cout << "slipway is up at " << url << " (home " << home.folder().string() << ")"
                  << std::endl;
        if (grpc != nullptr) {
          std::cout << "gRPC (Open Inference) at " << flags.address << ":" << grpc->port()
                    << std::endl;
        }

        if (gate != nullptr && !gate->first_password().empty()) {
          std::cout << "The first user is 'admin' with the password " << gate->first_password()
                    << "\nIt is not shown again: `slipway users passwd admin` sets another."
                    << std::endl;
        }
        if (gate == nullptr && !home.access().snapshot()->users.empty()) {
          std::cerr << "warning: this home has users, but nobody is asked who they are: start with "
                       "--auth"
                    << std::endl;
        }

        std::mutex mutex;
        std::condition_variable_any stopped;
        std::unique_lock lock(mutex);
        stopped.wait(lock, ctx.stop, [] { return false; });

        log::info("stopping");
        hangup.on_signal({});
        if (grpc != nullptr) grpc->stop();
        http->stop();
        worker.stop();
        importer.stop();
        keeping.request_stop();
        keeping.join();
        for (auto& thread : telling) thread.request_stop();
        telling.clear();
        host.finish_shadows();
        if (auto head = home.audit().checkpoint(); !head) return fail(head.error());
        return 0;
      });
}

}  // namespace

void add_up(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<UpFlags>();
  CLI::App* up = app.add_subcommand(
      "up", "Start the server: MLflow, Open Inference, Prometheus and slipway's API on one port");
  up->add_option("--address", flags->address,
                 "Address to listen on. Any but loopback needs --auth, and TLS or --insecure-http")
      ->capture_default_str();
  up->add_option("--port", flags->port, "Port to listen on; 0: any free one")
      ->capture_default_str();
  CLI::Option* grpc_port =
      up->add_option("--grpc-port", flags->grpc_port,
                     "Port for Open Inference over gRPC; 0: any free one. When it is not given and "
                     "5001 is taken, gRPC is off")
          ->capture_default_str();
  up->add_flag("--no-grpc", flags->no_grpc, "Listen for HTTP only")->excludes(grpc_port);
  up->add_option("--allow-webhook", flags->webhook_hosts,
                 "Where alerts and webhooks may be sent: a host, address or network, such as "
                 "hooks.example.org:443 or localhost:9000. Without it, webhooks go to public hosts "
                 "by https, and alerts nowhere");
  up->add_option("--allow-source", flags->model_sources,
                 "Where files of model versions may be beside the artifacts kept here: a prefix, "
                 "such as s3://bucket/models");
  up->add_option("--host-name", flags->host_names,
                 "A name this server is called by, beside localhost: requests that name another "
                 "Host are refused");
  up->add_option("--tls-cert", flags->tls_certificate,
                 "Certificate, with its chain, in PEM: the port then speaks TLS only. SIGHUP reads "
                 "it anew");
  up->add_option("--tls-key", flags->tls_key, "The certificate's private key, in PEM");
  up->add_flag("--auth", flags->auth,
               "Ask who everybody is: users with passwords and tokens, who may do what they were "
               "granted. The first start makes an admin and prints the password");
  up->add_flag(
      "--insecure-http", flags->insecure_http,
      "Listen beyond loopback without TLS, as something in front of this server speaks it");
  up->add_flag("--open-metrics", flags->open_metrics,
               "Let anybody read /metrics, although --auth is on");
  models::WorkerOptions& workers = flags->runtime.workers;
  up->add_option(
      "--model-python", workers.python,
      "Interpreter of a virtual environment (VENV/bin/python) for models that only Python "
      "can run, each in a process of its own; without it they are refused");
  up->add_option("--model-environment", workers.environment,
                 "Digest that environment must have; the log tells it when a model is loaded");
  up->add_option("--worker-memory-mb", workers.memory_mb,
                 "Memory that such a process may have, its interpreter included");
  up->add_option("--worker-timeout-ms", workers.call_timeout_ms,
                 "A process that takes longer for a request is ended and started again");
  up->add_option("--onnxruntime", flags->runtime.onnxruntime,
                 "The library of ONNX Runtime, where it is not found by itself");
  up->add_option("--model-memory", flags->model_memory_mb,
                 "MiB that models may take: those asked least recently are let go beyond it, and "
                 "loaded again when they are asked. 0: all stay loaded")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  up->add_flag("--verbose", flags->verbose, "Log more");
  up->footer(
      "Example: slipway up --port 5000\nEnds by SIGTERM or Ctrl-C with exit code 0, after the "
      "requests under way.");
  up->callback([flags, grpc_port, &globals] {
    flags->grpc_port_given = grpc_port->count() > 0;
    globals.exit_code = serve(globals, *flags);
  });
}

}  // namespace slipway::cli
