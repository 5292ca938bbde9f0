"""kill -9 of a server that takes batches of metrics: what was acknowledged is there, once, and no batch by halves.

SLIPWAY_KILLS says how often it is killed (default 8); the moments are drawn with a seed.
"""

import os
import random
import threading
import time

import pytest
import requests

from support.slipway_server import SlipwayServer

KILLS = int(os.environ.get("SLIPWAY_KILLS", "8"))
WRITERS = 4
POINTS = 120  # of each key in a batch: more than become a chunk at once; and a few, which go through the log
FEW = 3


def batch_of(run_id, number):
    """Batch `number`: its points and its param name it, so that each can be told apart."""
    metrics = [
        {"key": "many", "value": i / 3, "timestamp": number, "step": number * POINTS + i} for i in range(POINTS)
    ] + [{"key": f"few {i}", "value": number, "timestamp": number, "step": number} for i in range(FEW)]
    return {"run_id": run_id, "metrics": metrics, "tags": [{"key": f"batch {number}", "value": "whole"}]}


class Writer(threading.Thread):
    """Logs batch after batch into a run of its own until the server is gone."""

    def __init__(self, url, run_id):
        super().__init__()
        self.url, self.run_id, self.next, self.failure = url, run_id, 0, None

    def run(self):
        with requests.Session() as session:
            while True:
                try:
                    body = batch_of(self.run_id, self.next)
                    answer = session.post(f"{self.url}/api/2.0/mlflow/runs/log-batch", json=body, timeout=30)
                except requests.RequestException:
                    return
                if answer.status_code != 200:
                    self.failure = answer.text
                    return
                self.next += 1


def points_of(url, run_id, key):
    answer = requests.get(
        f"{url}/api/2.0/mlflow/metrics/get-history", {"run_id": run_id, "metric_key": key}, timeout=60
    )
    return [(m["step"], m["timestamp"]) for m in answer.json().get("metrics", [])]


def check(url, run_id, acknowledged):
    """Every acknowledged batch, perhaps the one after it, each whole and each once."""
    run = requests.get(f"{url}/api/2.0/mlflow/runs/get", {"run_id": run_id}, timeout=60).json()["run"]
    kept = {int(t["key"].split()[1]) for t in run["data"]["tags"] if t["key"].startswith("batch ")}
    assert kept in (set(range(acknowledged)), set(range(acknowledged + 1))), f"{acknowledged} acknowledged"
    batches = len(kept)
    assert points_of(url, run_id, "many") == [(n * POINTS + i, n) for n in range(batches) for i in range(POINTS)]
    for i in range(FEW):
        assert points_of(url, run_id, f"few {i}") == [(n, n) for n in range(batches)]
    latest = {m["key"]: m["step"] for m in run["data"]["metrics"]}
    if batches:
        assert latest["many"] == batches * POINTS - 1
        assert latest["few 0"] == batches - 1


@pytest.mark.parametrize("seed", [4])
def test_a_killed_server_keeps_every_acknowledged_batch_whole_and_once(tmp_path, seed):
    draw = random.Random(seed)
    server = SlipwayServer(tmp_path / "home")
    server.start()
    total = 0
    try:
        for _ in range(KILLS):
            create = f"{server.url}/api/2.0/mlflow/runs/create"
            run_ids = [
                requests.post(create, json={"experiment_id": "0"}, timeout=30).json()["run"]["info"]["run_id"]
                for _ in range(WRITERS)
            ]
            writers = [Writer(server.url, run_id) for run_id in run_ids]
            for writer in writers:
                writer.start()
            time.sleep(draw.uniform(0.02, 0.4))
            server.kill()
            for writer in writers:
                writer.join()
                assert writer.failure is None
            server.start()
            for writer in writers:
                check(server.url, writer.run_id, writer.next)
                # The one that was under way, again: it may be there already.
                body = batch_of(writer.run_id, writer.next)
                again = requests.post(f"{server.url}/api/2.0/mlflow/runs/log-batch", json=body, timeout=30)
                assert again.status_code == 200
                check(server.url, writer.run_id, writer.next + 1)
                total += writer.next
        assert total > KILLS * WRITERS  # there was something to lose
        assert server.stop() == 0
    finally:
        server.kill()
