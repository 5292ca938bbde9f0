#!/usr/bin/env python3
"""What logging and searching cost: slipway and `mlflow server` in turn, under the same loads.

    bench/tracking.py                 # a few minutes; most of them are the peer's
    bench/tracking.py --no-peer       # slipway alone: about a minute
    bench/tracking.py --only search   # loads whose name contains a word
    bench/tracking.py --long          # also 1,000,000 runs and 100,000,000 metric points (slipway alone, about 15 minutes)

Closed loops over keep-alive connections by bench/http_load.cpp, compiled at first use. Every answer has to be 200.
`cpu` is the server's processor time per request (all its processes, from /proc), which a busy machine hardly changes;
requests a second and latencies it does change, so the load average stands beside each row, and how long the disk takes
to make 8 KiB durable stands above all: both servers wait for it before they answer.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import peer_mlflow
from peer_mlflow import ROOT, Server

METRICS = ["auc", "loss", "f1"]
API = "/api/2.0/mlflow/"


def load_client() -> str:
    source = ROOT / "bench/http_load.cpp"
    program = ROOT / "build/bench/http_load"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["c++", "-std=c++20", "-O2", "-o", str(program), str(source)], check=True)
    return str(program)


def call(server: Server, method: str, path: str, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.loads(answer.read() or b"{}")


def http(method: str, path: str, body=None) -> bytes:
    text = b"" if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if method != "GET":
        head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
    return head.encode() + b"\r\n" + text


def drive(server: Server, requests: list[bytes], connections: int, seconds: float, step: int = 1) -> dict:
    stdin = b"".join(b"%d\n%s" % (len(request), request) for request in requests)
    before = server.cpu_seconds()
    done = subprocess.run(
        [load_client(), str(server.port), str(connections), str(seconds), str(step)], input=stdin, capture_output=True
    )
    if done.returncode != 0:
        return {"error": done.stderr.decode().strip()[:300]}
    result = json.loads(done.stdout)
    result["rate"] = result["requests"] / result["seconds"]
    result["cpu_us"] = (server.cpu_seconds() - before) / result["requests"] * 1e6
    result["load"] = os.getloadavg()[0]
    if result["failed"]:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1]
        result["error"] = f"{result['failed']} of {result['requests']} answers were not 200: {said[:200]}"
    return result


def durable_ms(folder) -> float:
    """The median time of an fdatasync after 8 KiB."""
    times = []
    with open(pathlib.Path(folder) / "probe", "wb", buffering=0) as file:
        for _ in range(60):
            file.write(bytes(8192))
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


class Bench:
    def __init__(self, options, servers: list[Server]):
        self.options, self.servers, self.rows = options, servers, []
        self.runs = {}

    def wants(self, name: str) -> bool:
        return self.options.only in name

    def setup(self, server: Server) -> None:
        stamp = time.time_ns()
        experiment = call(server, "POST", API + "experiments/create", {"name": f"bench {stamp}"})["experiment_id"]
        runs = [
            call(server, "POST", API + "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
            for _ in range(16)
        ]
        self.runs[server.name] = (experiment, runs)

    def report(self, name: str, per_request: int, results: dict[str, dict], unit: str = "/s") -> None:
        self.rows.append({"load": name, **results})
        line = f"{name:44}"
        for server in self.servers:
            r = results.get(server.name)
            if r is None:
                continue
            if "error" in r:
                line += f" | {server.name}: {r['error']}"
                continue
            line += f" | {server.name:7} {r['rate'] * per_request:>10,.0f}{unit} p50 {r['p50']:>8.2f} p99 {r['p99']:>8.2f} ms"
            line += f" cpu {r['cpu_us']:>9,.0f} us load {r['load']:.1f}"
        ours, theirs = results.get("slipway"), results.get("mlflow")
        if ours and theirs and "rate" in ours and "rate" in theirs:
            line += f" | {ours['rate'] / theirs['rate']:,.0f}x the rate, {theirs['cpu_us'] / ours['cpu_us']:,.0f}x less cpu"
        print(line, flush=True)

    def compare(self, name: str, make, connections: int, seconds: float, step: int = 1, per_request: int = 1, unit="/s"):
        if not self.wants(name):
            return
        results = {}
        for server in self.servers:
            requests = make(server)
            if server.name == "slipway":  # the first touch of new pages is nobody's figure
                drive(server, requests, connections, 0.3, step)
            results[server.name] = drive(server, requests, connections, seconds, step)
        self.report(f"{name}, {connections} connections" if connections > 1 else f"{name}, 1 connection", per_request, results, unit)

    # The loads.

    def log_metric(self, server: Server) -> list[bytes]:
        body = '{"run_uuid": "%s", "run_id": "%s", "key": "loss", "value": 0.%d, "timestamp": 1700#########, "step": #########}'
        return [
            http("POST", API + "runs/log-metric", (body % (run, run, 7919 * (i + 1))).encode())
            for i, run in enumerate(self.runs[server.name][1])
        ]

    def log_batch(self, keys: int):
        def make(server: Server) -> list[bytes]:
            draw = random.Random(5)
            requests = []
            for run in self.runs[server.name][1][:4]:
                metrics = [
                    '{"key": "metric_%d", "value": %r, "timestamp": 1700#########, "step": #########}'
                    % (i % keys, draw.random())
                    for i in range(1000)
                ]
                requests.append(
                    http("POST", API + "runs/log-batch", ('{"run_id": "%s", "metrics": [%s]}' % (run, ", ".join(metrics))).encode())
                )
            return requests

        return make

    def create_run(self, server: Server) -> list[bytes]:
        experiment = self.runs[server.name][0]
        tags = [{"key": "mlflow.user", "value": "ann"}, {"key": "mlflow.source.name", "value": "train.py"}]
        body = {"experiment_id": experiment, "start_time": 1700000000000, "run_name": "bench", "tags": tags}
        return [http("POST", API + "runs/create", body)]

    def create_version(self, server: Server) -> list[bytes]:
        # Each takes a kind of source the other refuses.
        source = "mlflow-artifacts:/1/models/m" if server.name == "slipway" else "s3://models/m"
        requests = []
        for i in range(16):
            name = f"bench-{time.time_ns()}-{i}"
            call(server, "POST", API + "registered-models/create", {"name": name})
            requests.append(http("POST", API + "model-versions/create", {"name": name, "source": source}))
        return requests

    def search(self, **body):
        def make(server: Server) -> list[bytes]:
            return [http("POST", API + "runs/search", {"experiment_ids": [self.filled[server.name]], **body})]

        return make

    def fill_history(self, server: Server) -> str:
        run = call(server, "POST", API + "runs/create", {"experiment_id": self.runs[server.name][0]})["run"]["info"]["run_id"]
        draw = random.Random(6)
        for batch in range(100):
            metrics = [
                {"key": "curve", "value": draw.random(), "timestamp": 1700000000000 + s, "step": s}
                for s in range(batch * 1000, batch * 1000 + 1000)
            ]
            call(server, "POST", API + "runs/log-batch", {"run_id": run, "metrics": metrics})
        return run


def store_of(server: Server) -> sqlite3.Connection:
    file = server.folder / ("home/slipway.db" if server.name == "slipway" else "mlflow.db")
    connection = sqlite3.connect(file, timeout=120)
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def fill_runs(server: Server, count: int) -> str:
    """Runs with 3 metrics, 3 params and 2 tags each, put straight into the server's tables: over REST the peer would take
    a quarter of an hour for 10,000. The same numbers for both."""
    experiment = call(server, "POST", API + "experiments/create", {"name": f"search {count}"})["experiment_id"]
    draw = random.Random(count)
    store = store_of(server)
    ours = server.name == "slipway"
    base = store.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()[0] + 1 if ours else 0
    put = store.executemany
    for begin in range(0, count, 20_000):
        runs, metrics, params, tags = [], [], [], []
        for i in range(begin, min(count, begin + 20_000)):
            run = f"{draw.getrandbits(128):032x}"
            key = base + i if ours else run
            start = 1_600_000_000_000 + i * 1000
            runs.append((key, run, experiment, f"run-{i % 97}", "FINISHED", start, f"mlflow-artifacts:/{experiment}/{run}/artifacts"))
            metrics += [(key, name, draw.random(), start) for name in METRICS]
            params += [(key, "depth", str(1 + i * 7 % 10)), (key, "lr", str(draw.choice([0.1, 0.01, 0.001]))), (key, "seed", str(i))]
            tags += [(key, "team", draw.choice(["ops", "research", "growth"])), (key, "mlflow.runName", f"run-{i % 97}")]
        if ours:
            put(
                "INSERT INTO runs(seq, id, experiment_id, name, user_id, status, start_ms, artifact_uri) VALUES (?, ?, ?, ?, 'ann', ?, ?, ?)",
                runs,
            )
            put("INSERT INTO run_latest_metrics(run, key, value, is_nan, step, timestamp_ms) VALUES (?, ?, ?, 0, 0, ?)", metrics)
            put("INSERT INTO run_params(run, key, value) VALUES (?, ?, ?)", params)
            put("INSERT INTO run_tags(run, key, value) VALUES (?, ?, ?)", tags)
        else:
            put(
                "INSERT INTO runs(run_uuid, experiment_id, name, user_id, status, start_time, artifact_uri, lifecycle_stage,"
                " source_type) VALUES (?, ?, ?, 'ann', ?, ?, ?, 'active', 'LOCAL')",
                [run[1:] for run in runs],
            )
            for table in ("latest_metrics", "metrics"):
                put(f"INSERT INTO {table}(run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, 0, 0)", metrics)
            put("INSERT INTO params(run_uuid, key, value) VALUES (?, ?, ?)", params)
            put("INSERT INTO tags(run_uuid, key, value) VALUES (?, ?, ?)", tags)
        store.commit()
    store.close()
    return experiment


def searches(bench: Bench, count: int, seconds: float, connections=(1, 4)) -> None:
    kinds = [
        ("metric and param, by metric", {"filter": "metrics.auc > 0.5 and params.depth = '6'", "order_by": ["metrics.auc DESC"]}),
        (
            "2 metrics, param, tag LIKE, 2 orders",
            {
                "filter": "metrics.auc > 0.3 and metrics.loss < 0.8 and params.lr = '0.01' and tags.team LIKE 'res%'",
                "order_by": ["metrics.f1 DESC", "start_time ASC"],
            },
        ),
        ("newest, no filter", {}),
        ("by metric, no filter", {"order_by": ["metrics.loss ASC"]}),
        ("a rare param, newest", {"filter": "params.seed = '77'"}),
        ("page of 1000", {"max_results": 1000}),
    ]
    for name, body in kinds:
        for c in connections:
            bench.compare(f"search {count:,}: {name}", bench.search(**{"max_results": 100, **body}), c, seconds)


def settle(server: Server, patience_s: float = 60) -> None:
    """Waits until the server has stopped starting: the peer's job processes go on for a while after it is ready."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        before = server.cpu_seconds()
        time.sleep(1)
        if server.cpu_seconds() - before < 0.15:
            return


def short(bench: Bench) -> None:
    seconds = bench.options.seconds
    for server in bench.servers:
        settle(server)
        print(f"{server.name}: ready in {server.ready_seconds:.2f} s, {server.memory_mib():.0f} MiB idle in {len(server.pids())} processes")
        bench.setup(server)
    for connections in (1, 16):
        bench.compare("log-metric", bench.log_metric, connections, seconds)
    bench.compare("log-batch of 1000, 10 keys", bench.log_batch(10), 4, seconds, 10, 1000, " metrics/s")
    bench.compare("log-batch of 1000, 1000 keys", bench.log_batch(1000), 4, seconds, 1000, 1000, " metrics/s")
    for connections in (1, 16, 64):
        bench.compare("create run", bench.create_run, connections, seconds)
    bench.compare("model version", bench.create_version, 16, seconds)
    if bench.wants("search 10,000"):
        bench.filled = {server.name: fill_runs(server, 10_000) for server in bench.servers}
        searches(bench, 10_000, seconds)
    if bench.wants("history"):
        runs = {server.name: bench.fill_history(server) for server in bench.servers}
        query = "run_id=%s&metric_key=curve"
        bench.compare("history of 100,000 points", lambda s: [http("GET", API + "metrics/get-history?" + query % runs[s.name])], 1, seconds)
        query = "run_ids=%s&metric_key=curve&max_results=320"
        path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?"
        bench.compare("history sampled to 320", lambda s: [http("GET", path + query % runs[s.name])], 1, seconds)
    for server in bench.servers:
        print(f"{server.name}: {server.memory_mib():.0f} MiB after the load")


def long(bench: Bench) -> None:
    server = bench.servers[0]
    bench.servers = [server]
    if bench.wants("search 1,000,000"):
        begun = time.perf_counter()
        bench.filled = {server.name: fill_runs(server, 1_000_000)}
        print(f"1,000,000 runs filled in {time.perf_counter() - begun:.0f} s")
        searches(bench, 1_000_000, bench.options.seconds, (1,))
    if bench.wants("100,000,000 points"):
        points(bench, server, 100_000_000)


def points(bench: Bench, server: Server, count: int) -> None:
    """Batches into fresh runs, 1,000,000 points each, until there are `count`; the latency of each tenth."""
    experiment = call(server, "POST", API + "experiments/create", {"name": f"points {time.time_ns()}"})["experiment_id"]
    size = lambda: sum(f.stat().st_size for f in (server.folder / "home").glob("slipway.db*"))  # noqa: E731
    before, stored, tenth, latencies = size(), 0, 0, []
    begun = time.perf_counter()
    while stored < count:
        bench.runs[server.name] = (
            experiment,
            [call(server, "POST", API + "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"] for _ in range(4)],
        )
        result = drive(server, bench.log_batch(10)(server), 4, 3.0, 10)
        if "error" in result:
            sys.exit(result["error"])
        stored += result["requests"] * 1000
        latencies.append((result["p50"], result["p99"]))
        if stored * 10 // count > tenth:
            tenth = stored * 10 // count
            print(
                f"{stored:>12,} points: {result['rate'] * 1000:>9,.0f} metrics/s, p50 {result['p50']:.2f}, p99 {result['p99']:.2f} ms,"
                f" {(size() - before) / stored:.2f} bytes a point, {server.memory_mib():.0f} MiB, load {result['load']:.1f}",
                flush=True,
            )
    p50 = [pair[0] for pair in latencies]
    early, late = statistics.median(p50[:5]), statistics.median(p50[-5:])
    print(f"{stored:,} points in {time.perf_counter() - begun:.0f} s; p50 of a batch {early:.2f} ms at first, {late:.2f} ms at the end: {late / early:.2f}x")
    bench.rows.append({"load": "points", "points": stored, "p50 early": early, "p50 late": late, "bytes": (size() - before) / stored})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--no-peer", action="store_true")
    options.add_argument("--long", action="store_true")
    options.add_argument("--only", default="")
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--folder", help="where the stores go; default: a temporary folder")
    options.add_argument("--json", action="store_true", help="print the rows as JSON, too")
    options = options.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slipway-bench-", dir=options.folder))
    servers = []
    try:
        print(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; 8 KiB are durable in {durable_ms(folder):.1f} ms; "
            f"{options.seconds:.0f} s a row"
        )
        servers.append(peer_mlflow.start_slipway(folder))
        if not options.no_peer:
            peer = peer_mlflow.start(folder)
            if peer is None:
                print("mlflow is not installed (./dev bench installs it into .deps/mlflow-venv): slipway alone")
            else:
                servers.append(peer)
        bench = Bench(options, servers)
        short(bench)
        if options.long:
            long(bench)
        if options.json:
            print(json.dumps({"cores": os.cpu_count(), "rows": bench.rows}))
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
