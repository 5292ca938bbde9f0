// What a request pays for saying who it is, and for being decided upon; and what a wrong login
// costs, by a user who exists and by one who does not.
//   build/release/src/access_bench
#include <benchmark/benchmark.h>

#include "access/authenticator.h"
#include "access/policy.h"
#include "base/hash.h"
#include "support/support.h"

namespace slipway::access {
namespace {

constexpr int kUsers = 1000;
constexpr int kGrantsEach = 10;
constexpr const char* kPassword = "a long enough secret";

template <class T>
T must(Result<T> result) {
  if (!result) std::abort();
  return *std::move(result);
}

// A thousand users with ten grants each, and real costs of hashing.
struct World {
  test::Scratch scratch;
  SystemClock clock;
  RandomIds ids;
  Context ctx;
  std::unique_ptr<db::Database> db =
      must(db::Database::open(scratch / "slipway.db", {.durable = false}));
  std::unique_ptr<audit::Log> audit = must(audit::Log::open(*db, scratch / "keys", clock));
  std::unique_ptr<Directory> directory = must(Directory::open(*db, *audit, clock, ids));
  std::string token;
  std::unique_ptr<Authenticator> authenticator;

  World() {
    must(directory->add_user(ctx, {.name = "ana", .password = kPassword}));
    token = "Bearer " + must(directory->create_token(ctx, {.user = "ana"})).text;
    auto filled = db->write([&](db::Transaction& tx) -> Result<void> {
      for (int user = 2; user <= kUsers; ++user) {
        const std::string name = "user" + std::to_string(user);
        auto added = tx.run(
            "INSERT INTO access_users(name, folded, password, admin, creates, created, "
            "password_set) VALUES (?1, ?1, '', 0, 1, 0, 0)",
            name);
        if (!added) return added;
      }
      for (int grant = 0; grant < kUsers * kGrantsEach; ++grant) {
        auto added = tx.run(
            "INSERT INTO access_grants(holder_kind, holder_id, kind, name, level, created, "
            "created_by) VALUES ('user', ?1, 'experiment', ?2, 'edit', 0, 'bench')",
            1 + grant % kUsers, std::to_string(grant));
        if (!added) return added;
      }
      return tx.run("UPDATE access_state SET version = version + 1");
    });
    if (!filled || !directory->refresh()) std::abort();
    authenticator = std::make_unique<Authenticator>(
        *directory, *audit, clock, ids, AuthenticatorOptions{.free_failures = 1'000'000});
  }
};

World& world() {
  static World one;
  return one;
}

std::string basic(const std::string& user, const std::string& password) {
  return "Basic " + to_base64(user + ":" + password);
}

void verify_token(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(world().authenticator->authenticate(world().token, "10.0.0.1"));
}
BENCHMARK(verify_token);

void recall_password(benchmark::State& state) {
  const std::string header = basic("ana", kPassword);
  must(world().authenticator->authenticate(header, "10.0.0.1"));
  for (auto _ : state) benchmark::DoNotOptimize(world().authenticator->recall(header, "10.0.0.1"));
}
BENCHMARK(recall_password);

void hash_a_wrong_password(benchmark::State& state) {
  int wrong = 0;
  for (auto _ : state) {
    ++wrong;
    benchmark::DoNotOptimize(world().authenticator->authenticate(
        basic("ana", "wrong " + std::to_string(wrong)), std::to_string(wrong)));
  }
}
BENCHMARK(hash_a_wrong_password)->Unit(benchmark::kMillisecond);

void hash_for_an_unknown_user(benchmark::State& state) {
  int wrong = 0;
  for (auto _ : state) {
    ++wrong;
    benchmark::DoNotOptimize(world().authenticator->authenticate(
        basic("nobody", "wrong " + std::to_string(wrong)), std::to_string(wrong)));
  }
}
BENCHMARK(hash_for_an_unknown_user)->Unit(benchmark::kMillisecond);

void decide_on_an_experiment(benchmark::State& state) {
  const auto snapshot = world().directory->snapshot();
  const Identity ana{.user = 1, .name = "ana"};
  const Resource experiment{Kind::experiment, "9000"};
  for (auto _ : state) benchmark::DoNotOptimize(decide(*snapshot, ana, experiment, Level::edit));
}
BENCHMARK(decide_on_an_experiment);

void read_the_snapshot_anew(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    const auto bumped = world().db->write([](db::Transaction& tx) {
      return tx.run("UPDATE access_state SET version = version + 1");
    });
    if (!bumped) std::abort();
    state.ResumeTiming();
    if (!world().directory->refresh()) std::abort();
  }
}
BENCHMARK(read_the_snapshot_anew)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slipway::access
