#!/usr/bin/env python3
"""What the prediction log costs, and what hundreds of models weigh: one server, one small model.

usage: bench/prediction_log.py [--seconds S] [--connections N] [--rounds R] [--models M] [--budget-mb B]

Closed loops over keep-alive connections by bench/http_load.cpp (compiled at first use), one row a request, in turns with
`log: off`, `queued` and `durable`, so that a machine that is busy with something else is busy for all of them: requests a
second, the server's processor time a request, and both against `off`. Then M deployments of M different bundles under a
memory budget: the server's memory before and after each of them has answered once.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.flights import slipway, small_pipeline  # noqa: E402
from support.slipway_server import SlipwayServer  # noqa: E402

PIPELINE = """\
name: small
seed: 7
steps:
  ingest:
    ingest:
      sources: {rows: {path: rows.csv, types: {day: timestamp, x: float64}}}
      sql: SELECT * FROM rows
      dataset: rows
"""
TRAIN = """\
  train%(n)d:
    train:
      dataset: ${steps.ingest.dataset}
      window: {column: day}
      target: late
      features:
        - {columns: [x], apply: [passthrough]}
        - {columns: [kind], apply: [onehot: {}]}
      trainer: {rounds: %(rounds)d, max_depth: 6, learning_rate: %(rate)s}
      model: m%(n)d
  register%(n)d:
    register: {model: m%(n)d, bundle: "${steps.train%(n)d.bundle}", run_id: "${steps.train%(n)d.run_id}", alias: champion}
  deploy%(n)d:
    deploy: {name: m%(n)d, model: "${steps.register%(n)d.model}", alias: champion}
"""
BODY = json.dumps(
    {
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": [1], "data": [0.5]},
            {"name": "kind", "datatype": "BYTES", "shape": [1], "data": ["a"]},
        ]
    }
)


def request(name: str) -> bytes:
    head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(BODY)}\r\n\r\n"
    return (head + BODY).encode()


def call(url: str, method: str, body=None):
    data = None if body is None else json.dumps(body).encode()
    sent = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(sent, timeout=60) as answer:
        return json.load(answer)


def processor_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int, key: str = "VmRSS") -> float:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {key} of process {pid}")


def wait_ready(server, name: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            call(f"{server.url}/v2/models/{name}/ready", "GET")
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def log_modes(server, load: pathlib.Path, args) -> None:
    one = request("m0")
    lines = f"{len(one)}\n".encode() + one
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for mode in ("off", "queued", "durable"):
            call(f"{server.url}/api/v1/deployments/m0", "PATCH", {"log": mode})
            time.sleep(0.5)  # the server's next look
            before = processor_seconds(server.process.pid)
            done = subprocess.run(
                [load, str(server.port), str(args.connections), str(args.seconds), "1"],
                input=lines,
                capture_output=True,
                check=True,
            )
            result = json.loads(done.stdout)
            assert result["failed"] == 0, result
            spent = processor_seconds(server.process.pid) - before
            rates.setdefault(mode, []).append(result["requests"] / result["seconds"])
            costs.setdefault(mode, []).append(spent / result["requests"] * 1e6)
    off = statistics.median(rates["off"])
    print(f"{args.connections} connections, {args.rounds} rounds of {args.seconds} s, load {os.getloadavg()[0]:.1f}")
    print(f"{'log':<10}{'requests/s':>12}{'of off':>9}{'us/request':>12}{'of off':>9}")
    for mode, seen in rates.items():
        rate, cost = statistics.median(seen), statistics.median(costs[mode])
        print(f"{mode:<10}{rate:>12.0f}{rate / off:>9.2f}{cost:>12.1f}{cost / statistics.median(costs['off']):>9.2f}")
    print(f"server memory: now {resident_mib(server.process.pid):.0f} MiB, peak {resident_mib(server.process.pid, 'VmHWM'):.0f} MiB")


def many_models(home: pathlib.Path, args) -> None:
    with SlipwayServer(home, args=("--model-memory", str(args.budget_mb))) as server:
        began = time.monotonic()
        wait_ready(server, f"m{args.models - 1}")
        start = resident_mib(server.process.pid)
        for n in range(args.models):
            call(f"{server.url}/v2/models/m{n}/infer", "POST", json.loads(BODY))
        took = time.monotonic() - began
        page = urllib.request.urlopen(server.url + "/metrics", timeout=60).read().decode()
        sizes = [float(line.split()[-1]) for line in page.splitlines() if line.startswith("slipway_serving_model_bytes{")]
        loaded = sum(line.endswith(" 1") for line in page.splitlines() if line.startswith("slipway_serving_model_loaded{"))
        print(
            f"{args.models} models, budget {args.budget_mb} MiB: each answered in {took:.1f} s; {loaded} in memory, "
            f"{statistics.mean(sizes) / 1024:.0f} KiB a model; server {start:.0f} MiB before, "
            f"{resident_mib(server.process.pid):.0f} MiB after, peak {resident_mib(server.process.pid, 'VmHWM'):.0f} MiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--budget-mb", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        load = work / "http_load"
        subprocess.run(["g++", "-std=c++20", "-O2", "-o", load, ROOT / "bench/http_load.cpp"], check=True)
        steps = "".join(
            TRAIN % {"n": n, "rounds": 200 if n == 0 else 20, "rate": 0.1 + n / 1e4} for n in range(max(args.models, 1))
        )
        slipway(work / "home", "run", small_pipeline(work, PIPELINE + steps), timeout=3600)
        with SlipwayServer(work / "home") as server:
            wait_ready(server, "m0")
            log_modes(server, load, args)
        if args.models > 0:
            many_models(work / "home", args)


if __name__ == "__main__":
    main()
