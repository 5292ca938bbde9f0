"""64 clients at once, each with a connection of its own, doing all that a training does: not one error, and nothing lost.

SLIPWAY_MANY_CLIENTS_S is for how long (default 8): 60 for the whole minute.
"""

import concurrent.futures
import http.client
import json
import os
import threading
import time
import urllib.parse

import pytest

CLIENTS = 64
SECONDS = float(os.environ.get("SLIPWAY_MANY_CLIENTS_S", "8"))
API = "/api/2.0/mlflow/"


class Caller:
    """One keep-alive connection. Any answer but 200 is a failure, and so is a connection that ends."""

    def __init__(self, server, number: int):
        self.number, self.requests, self.slowest = number, 0, 0.0
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        begun = time.monotonic()
        self.connection.request(method, path, body)
        answer = self.connection.getresponse()
        data = answer.read()
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.requests += 1
        assert answer.status == 200, f"{method} {path}: {answer.status} {data[:300]!r}"
        return data

    def call(self, method: str, path: str, **body):
        if method == "GET":
            return json.loads(self.send(method, API + path + "?" + urllib.parse.urlencode(body)))
        return json.loads(self.send(method, API + path, json.dumps(body).encode()) or b"{}")


def train(server, experiment: str, number: int, together: threading.Barrier) -> dict:
    caller = Caller(server, number)
    artifact = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/client-{number}"
    together.wait()
    until = time.monotonic() + SECONDS
    rounds = 0
    while rounds == 0 or time.monotonic() < until:
        run = caller.call("POST", "runs/create", experiment_id=experiment, run_name=f"{number}/{rounds}")["run"]["info"]["run_id"]
        caller.call("POST", "runs/log-parameter", run_id=run, key="client", value=str(number))
        caller.call("POST", "runs/set-tag", run_id=run, key="round", value=str(rounds))
        for step in range(5):
            caller.call("POST", "runs/log-metric", run_id=run, key="loss", value=1 / (step + 1), timestamp=1, step=step)
        metrics = [{"key": f"m{i % 10}", "value": i, "timestamp": 1, "step": i} for i in range(100)]
        caller.call("POST", "runs/log-batch", run_id=run, metrics=metrics, params=[{"key": "p", "value": "1"}])
        written = f"{number} {rounds}".encode() * 100
        caller.send("PUT", artifact, written)
        assert caller.send("GET", artifact) == written
        found = caller.call(
            "POST", "runs/search", experiment_ids=[experiment], filter=f"params.client = '{number}' and metrics.loss < 0.5",
            order_by=["metrics.loss"], max_results=5,
        )
        assert run in [each["info"]["run_id"] for each in found["runs"]] or rounds >= 5
        assert len(caller.call("GET", "metrics/get-history", run_id=run, metric_key="loss")["metrics"]) == 5
        caller.call("POST", "runs/update", run_id=run, status="FINISHED", end_time=2)
        rounds += 1
    caller.connection.close()
    return {"requests": caller.requests, "rounds": rounds, "slowest": caller.slowest}


@pytest.mark.filterwarnings("ignore")
def test_64_clients_at_once_get_no_error(server, client):
    experiment = client.create_experiment(f"many clients {time.time_ns()}")
    together = threading.Barrier(CLIENTS)
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        tasks = [pool.submit(train, server, experiment, number, together) for number in range(CLIENTS)]
        done = [task.result() for task in tasks]
    print(f"{sum(d['requests'] for d in done)} requests in {SECONDS:.0f} s, the slowest took {max(d['slowest'] for d in done):.2f} s")

    runs = found = client.search_runs([experiment], max_results=1000)
    while found.token:
        found = client.search_runs([experiment], max_results=1000, page_token=found.token)
        runs = runs + found
    assert len(runs) == sum(d["rounds"] for d in done)
    assert all(run.info.status == "FINISHED" and len(run.data.metrics) == 11 for run in runs)
    by_client = {number: 0 for number in range(CLIENTS)}
    for run in runs:
        by_client[int(run.data.params["client"])] += 1
    assert list(by_client.values()) == [d["rounds"] for d in done]
