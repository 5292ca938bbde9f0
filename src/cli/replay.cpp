// `replay`: a dataset sent through the real endpoint as live traffic, its own times carried in the
// requests, labels following when they were known. As fast as the server answers; at the end of
// each stretch of time it waits until monitoring and feedback have caught up, as they would have
// had days to.
#include <iostream>

#include "cli/command_internal.h"
#include "cli/http_internal.h"
#include "cli/predictions_internal.h"

namespace slipway::cli {
namespace {

struct ReplayFlags {
  std::string deployment, dataset, server = "http://127.0.0.1:5000";
  std::string time = "time", label, label_time, id;
  std::string from, until;
  std::string hold = "1d";
  int connections = 8;
};

// One request's body, without its rows' ids: the columns of the model's signature.
struct Row {
  std::string id;
  Time time;
  Time label_time;
  double label = 0;
  bool labelled = false;
  std::int64_t index = 0;
};

void append_value(std::string& body, const data::ColumnView& view, std::int64_t row) {
  if (view.is_null(row)) {
    body += "null";
  } else if (view.type == data::Type::text) {
    body += Json(view.text(row)).dump(-1, ' ', false, Json::error_handler_t::replace);
  } else if (view.type == data::Type::boolean) {
    body += view.boolean(row) ? "true" : "false";
  } else if (view.type == data::Type::timestamp) {
    body += "\"" + format_time(from_micros(view.integer(row))) + "\"";
  } else if (view.type == data::Type::int64) {
    fmt::format_to(std::back_inserter(body), "{}", view.integer(row));
  } else {
    body += json_number(view.real(row)).dump();
  }
}

const char* datatype(data::Type type) {
  switch (type) {
    case data::Type::boolean:
      return "BOOL";
    case data::Type::int64:
      return "INT64";
    case data::Type::float64:
      return "FP64";
    default:
      return "BYTES";
  }
}

class Replay {
 public:
  Replay(Home& home, const ReplayFlags& flags) : home_(home), flags_(flags) {}

  Result<void> run() {
    const Context ctx = interruptible_context();
    if (auto ready = prepare(ctx); !ready) return ready;
    auto hold = parse_duration(flags_.hold);
    if (!hold) return hold.error().at("--hold");
    const auto started = home_.clock().steady();
    std::size_t begin = 0;
    std::size_t next_label = 0;
    while (begin < rows_.size()) {
      if (auto wanted = ctx.check(); !wanted) return wanted;
      const Time edge = rows_[begin].time - (rows_[begin].time.time_since_epoch() % *hold) + *hold;
      std::size_t end = begin;
      while (end < rows_.size() && rows_[end].time < edge) ++end;
      const auto sending = home_.clock().steady();
      if (auto sent = send(begin, end); !sent) return sent;
      busy_ += home_.clock().steady() - sending;
      if (auto labelled = send_labels(next_label, rows_[end - 1].time); !labelled) return labelled;
      if (auto settled = wait_until_settled(ctx, rows_[end - 1].time); !settled) return settled;
      begin = end;
      progress(begin, edge);
    }
    if (auto labelled = send_labels(next_label, Time::max()); !labelled) return labelled;
    const double seconds = std::chrono::duration<double>(home_.clock().steady() - started).count();
    const double busy = std::chrono::duration<double>(busy_).count();
    if (colours()) std::cout << "\r\033[K";
    std::cout << fmt::format(
        "{} predictions and {} labels in {:.1f} s; {:.0f} requests/s while sending over {} "
        "connections, p50 {:.2f} ms, p99 {:.2f} ms\n",
        rows_.size(), next_label, seconds, static_cast<double>(rows_.size()) / std::max(busy, 1e-9),
        flags_.connections, percentile(0.5), percentile(0.99));
    return {};
  }

 private:
  Result<void> prepare(const Context& ctx) {
    auto metadata = client().get_json("/v2/models/" + flags_.deployment);
    if (!metadata) return metadata.error();
    auto ref = home_.datasets().resolve(flags_.dataset);
    if (!ref) return ref.error();
    auto table = home_.datasets().load(ctx, *ref);
    if (!table) return table.error();
    auto columns = data::Columns::from_table(*table);
    if (!columns) return columns.error();
    columns_ = std::move(*columns);
    for (const Json& input : (*metadata)["inputs"]) {
      auto view = columns_.column(input.value("name", ""));
      if (!view) return view.error().at("an input of " + flags_.deployment);
      inputs_.emplace_back(input.value("name", ""), *view);
    }
    return index_rows();
  }

  Result<void> index_rows() {
    auto time = columns_.column(flags_.time);
    if (!time) return time.error().at("--time");
    auto id = columns_.column(flags_.id);
    if (!id) return id.error().at("--id");
    std::optional<data::ColumnView> label;
    std::optional<data::ColumnView> label_time;
    if (!flags_.label.empty()) {
      auto found = columns_.column(flags_.label);
      if (!found) return found.error().at("--label");
      label = *found;
      auto when = columns_.column(flags_.label_time.empty() ? flags_.time : flags_.label_time);
      if (!when) return when.error().at("--label-time");
      label_time = *when;
    }
    Time from = Time::min();
    Time until = Time::max();
    for (const auto& [text, moment] :
         {std::pair{&flags_.from, &from}, std::pair{&flags_.until, &until}}) {
      if (text->empty()) continue;
      auto parsed = parse_time(*text);
      if (!parsed) return parsed.error();
      *moment = *parsed;
    }
    for (std::int64_t i = 0; i < columns_.rows(); ++i) {
      const Time at = from_micros(time->integer(i));
      if (at < from || at >= until) continue;
      Row row{.id = std::string(id->text(i)), .time = at, .index = i};
      if (label && !label->is_null(i)) {
        row.labelled = true;
        row.label = label->number(i);
        row.label_time = label_time->is_null(i) ? at : from_micros(label_time->integer(i));
      }
      rows_.push_back(std::move(row));
    }
    if (rows_.empty())
      return failed_precondition("the dataset '" + flags_.dataset +
                                 "' has no rows between --from and --until");
    std::stable_sort(rows_.begin(), rows_.end(),
                     [](const Row& a, const Row& b) { return a.time < b.time; });
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (rows_[i].labelled) by_label_time_.push_back(i);
    }
    std::stable_sort(
        by_label_time_.begin(), by_label_time_.end(),
        [&](std::size_t a, std::size_t b) { return rows_[a].label_time < rows_[b].label_time; });
    return {};
  }

  std::string body_of(const Row& row) const {
    std::string body = "{\"id\":" + Json(row.id).dump() + ",\"inputs\":[";
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const auto& [name, view] = inputs_[i];
      body += i == 0 ? "" : ",";
      fmt::format_to(std::back_inserter(body),
                     R"({{"name":"{}","shape":[1],"datatype":"{}","data":[)", name,
                     datatype(view.type));
      append_value(body, view, row.index);
      body += "]}";
    }
    return body + "]}";
  }

  // All rows of [begin, end), each connection taking the next one that is left.
  Result<void> send(std::size_t begin, std::size_t end) {
    std::atomic<std::size_t> next{begin};
    std::mutex mutex;
    Result<void> outcome;
    const std::string path = "/v2/models/" + flags_.deployment + "/infer";
    const auto work = [&](HttpConnection& connection) {
      std::vector<std::int64_t> took;
      for (std::size_t i = next++; i < end; i = next++) {
        const auto asked = home_.clock().steady();
        auto answer = connection.send("POST", path, body_of(rows_[i]),
                                      {{"x-slipway-time", format_time(rows_[i].time)}});
        took.push_back(
            std::chrono::duration_cast<std::chrono::microseconds>(home_.clock().steady() - asked)
                .count());
        if (answer && answer->status == 200) continue;
        const std::scoped_lock lock(mutex);
        if (outcome)
          outcome = answer
                        ? failed_precondition("the prediction " + rows_[i].id + " was answered " +
                                              std::to_string(answer->status) + ": " + answer->body)
                        : answer.error();
        next = end;
      }
      const std::scoped_lock lock(mutex);
      latencies_.insert(latencies_.end(), took.begin(), took.end());
    };
    while (connections_.size() < static_cast<std::size_t>(std::max(1, flags_.connections)))
      connections_.push_back(std::make_unique<HttpConnection>(flags_.server));
    std::vector<std::jthread> threads;
    const std::size_t wanted = std::min(connections_.size(), end - begin);
    for (std::size_t i = 0; i < wanted; ++i) threads.emplace_back(work, std::ref(*connections_[i]));
    threads.clear();
    return outcome;
  }

  // Labels that were known by `now`, a thousand a request.
  Result<void> send_labels(std::size_t& next, Time now) {
    while (next < by_label_time_.size() && rows_[by_label_time_[next]].label_time <= now) {
      Json labels = Json::array();
      while (next < by_label_time_.size() && labels.size() < 1000 &&
             rows_[by_label_time_[next]].label_time <= now) {
        const Row& row = rows_[by_label_time_[next++]];
        labels.push_back({{"prediction_id", row.id},
                          {"label", row.label},
                          {"time", format_time(row.label_time)}});
      }
      auto answer = client().send("POST", "/api/v1/deployments/" + flags_.deployment + "/labels",
                                  Json{{"labels", labels}}.dump(), {});
      if (!answer) return answer.error();
      if (answer->status != 200)
        return failed_precondition("labels were answered " + std::to_string(answer->status) + ": " +
                                   answer->body);
    }
    return {};
  }

  Result<void> wait_until_settled(const Context& ctx, Time time) {
    while (true) {
      if (auto wanted = ctx.check(); !wanted) return wanted;
      auto answer = client().get_json("/api/v1/deployments/" + flags_.deployment +
                                      "/settled?time=" + format_time(time));
      if (!answer) return answer.error();
      if (answer->value("settled", false)) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  void progress(std::size_t done, Time edge) {
    if (colours()) {
      std::cout << "\r\033[K"
                << dim(fmt::format("{}  {} of {} predictions", format_time(edge).substr(0, 10),
                                   done, rows_.size()))
                << std::flush;
    }
  }

  HttpConnection& client() {
    if (!client_) client_ = std::make_unique<HttpConnection>(flags_.server);
    return *client_;
  }

  double percentile(double share) {
    if (latencies_.empty()) return 0;
    const auto at = latencies_.begin() +
                    static_cast<std::ptrdiff_t>(share * static_cast<double>(latencies_.size() - 1));
    std::nth_element(latencies_.begin(), at, latencies_.end());
    return static_cast<double>(*at) / 1000;
  }

  Home& home_;
  ReplayFlags flags_;
  data::Columns columns_;
  std::vector<std::pair<std::string, data::ColumnView>> inputs_;
  std::vector<Row> rows_;                   // by time
  std::vector<std::size_t> by_label_time_;  // of the labelled ones
  std::vector<std::unique_ptr<HttpConnection>> connections_;
  std::unique_ptr<HttpConnection> client_;
  std::vector<std::int64_t> latencies_;  // microseconds
  std::chrono::steady_clock::duration busy_{0};
};

}  // namespace

void add_replay(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<ReplayFlags>();
  CLI::App* command = app.add_subcommand(
      "replay",
      "Answer one logged prediction again and compare to the bit; or, with --dataset, send a "
      "dataset through a deployment as live traffic, with its own clock and late labels");
  command
      ->add_option("what", flags->deployment,
                   "A prediction's id; with --dataset, a deployment declared with clock: request")
      ->required();
  command->add_option("--dataset", flags->dataset, "Dataset version: NAME or NAME@VERSION");
  command->add_option("--server", flags->server, "Where the server is")->capture_default_str();
  command->add_option("--id", flags->id, "Column that identifies a prediction");
  command->add_option("--time", flags->time, "Column with the time of the request")
      ->capture_default_str();
  command->add_option("--label", flags->label, "Column with the truth");
  command->add_option("--label-time", flags->label_time,
                      "Column with the time when the truth was known");
  command->add_option("--from", flags->from, "From this time");
  command->add_option("--until", flags->until, "Until before this time");
  command
      ->add_option("--hold", flags->hold,
                   "Stretch of time after which it waits for monitoring and feedback")
      ->capture_default_str();
  command->add_option("--connections", flags->connections, "Connections that send at once")
      ->capture_default_str();
  command->footer(
      "Example: slipway replay 3f1c9a7e52d04b8f (exit code 7: not the same, with the reason)\n"
      "Example: slipway replay late --dataset flights --id flight_id --time time_hour --label late "
      "--label-time label_time --from 2013-04-01");
  command->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      if (flags->dataset.empty()) return replay_prediction(home, flags->deployment);
      if (flags->id.empty())
        return fail(invalid_argument("--dataset needs --id, the column that names predictions"));
      auto done = Replay(home, *flags).run();
      return done ? 0 : fail(done.error());
    });
  });
}

}  // namespace slipway::cli
