"""Versions behind one name, driven by Triton's real client: aliases that move under load, canaries, A/B by a sticky
header, rollouts; and what the prediction log says of it afterwards."""

import collections
import json
import shutil
import subprocess
import threading
import time

import numpy
import pytest
import requests
import tritonclient.http as triton
from prometheus_client.parser import text_string_to_metric_families

from support.flights import slipway, small_pipeline
from support.slipway_server import SlipwayServer, binary

PIPELINE = """\
name: small
seed: 7
steps:
  ingest:
    ingest:
      sources: {rows: {path: rows.csv, types: {day: timestamp, x: float64}}}
      sql: SELECT * FROM rows
      dataset: rows
  train:
    train:
      dataset: ${steps.ingest.dataset}
      window: {column: day}
      target: late
      features:
        - {columns: [x], apply: [passthrough]}
        - {columns: [kind], apply: [onehot: {}]}
      trainer: {rounds: 20, max_depth: 3}
      model: arms
  first:
    register: {model: arms, bundle: "${steps.train.bundle}", run_id: "${steps.train.run_id}", alias: champion}
  second:
    register: {model: arms, bundle: "${steps.train.bundle}", run_id: "${steps.train.run_id}", alias: next}
    needs: [first]
  deploy:
    deploy: {name: arms, model: "${steps.first.model}", alias: champion, sticky: x-user-id}
    needs: [second]
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    home = tmp_path_factory.mktemp("rollouts") / "home"
    slipway(home, "run", small_pipeline(tmp_path_factory.mktemp("arms"), PIPELINE))
    with SlipwayServer(home) as running:
        wait_until(lambda: requests.get(running.url + "/v2/models/arms/ready", timeout=5).status_code == 200)
        yield running


def wait_until(condition, patience_s=15):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def ask(server, headers=None, request_id="", row=("a", 0.25)):
    body = {
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": [1], "data": [row[1]]},
            {"name": "kind", "datatype": "BYTES", "shape": [1], "data": [row[0]]},
        ]
    }
    if request_id:
        body["id"] = request_id
    answer = requests.post(server.url + "/v2/models/arms/infer", json=body, headers=headers or {}, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def change(server, **changes):
    answer = requests.patch(server.url + "/api/v1/deployments/arms", json=changes, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def loaded(server):
    return requests.get(server.url + "/v2/models/arms", timeout=5).json()["versions"]


def test_an_alias_moves_under_load_and_no_request_fails(served):
    stop = threading.Event()
    failures, versions = [], collections.Counter()

    def load():
        client = triton.InferenceServerClient(served.url.removeprefix("http://"))
        x = triton.InferInput("x", [1], "FP64")
        kind = triton.InferInput("kind", [1], "BYTES")
        x.set_data_from_numpy(numpy.array([0.5]))
        kind.set_data_from_numpy(numpy.array([b"a"], dtype=object))
        while not stop.is_set():
            try:
                versions[client.infer("arms", [x, kind]).get_response()["model_version"]] += 1
            except Exception as problem:  # noqa: BLE001: whatever it is, it is a failed request
                failures.append(problem)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for move in range(10):
        answer = requests.post(
            served.url + "/api/2.0/mlflow/registered-models/alias",
            json={"name": "arms", "alias": "champion", "version": str(2 - move % 2)},
            timeout=10,
        )
        assert answer.status_code == 200, answer.text
        time.sleep(0.25)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert set(versions) == {"1", "2"}, versions
    assert sum(versions.values()) > 100


def test_a_canary_gets_its_share_and_equal_users_get_equal_versions(served):
    change(served, canaries=[{"alias": "next", "weight": 0.3}])
    wait_until(lambda: loaded(served) == ["1", "2"])
    of_user = {f"u{i}": ask(served, {"x-user-id": f"u{i}"})["model_version"] for i in range(200)}
    share = list(of_user.values()).count("2") / len(of_user)
    assert 0.18 < share < 0.42
    for user in list(of_user)[:20]:
        assert ask(served, {"x-user-id": user})["model_version"] == of_user[user]
    assert ask(served, {"x-slipway-arm": "next"})["model_version"] == "2"
    assert ask(served, {"x-slipway-arm": "champion"})["model_version"] == "1"
    wrong = requests.post(
        served.url + "/v2/models/arms/infer", data="{}", headers={"x-slipway-arm": "nobody"}, timeout=5
    )
    assert wrong.status_code == 400 and "next" in wrong.json()["error"]
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    at = requests.get(served.url + f"/api/v1/deployments/arms/at?time={before}", timeout=5).json()
    assert at["version"] == 1
    assert at["canaries"] == [{"alias": "next", "version": 2, "weight": 0.3}]
    change(served, canaries=[])
    wait_until(lambda: loaded(served) == ["1"])


def test_what_is_asked_carries_its_trace_and_is_answered_again_bit_for_bit(served):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    ask(served, {"traceparent": trace}, request_id="traced")
    again = requests.post(served.url + "/api/v1/predictions/traced/replay", timeout=10).json()
    assert again["same"] is True, again
    assert again["score"] == again["logged_score"]
    rows = json.loads(
        slipway(
            served.home,
            "predictions",
            "query",
            "arms",
            "SELECT id, _trace, _caller, length(_inputs_hash) AS digits FROM predictions WHERE id = 'traced'",
            "--json",
        )
    )
    assert rows == [{"id": "traced", "_trace": trace, "_caller": "local", "digits": 16}]
    replayed = subprocess.run(
        [binary(), "--home", served.home, "replay", "traced"], capture_output=True, text=True, check=False
    )
    assert replayed.returncode == 0, replayed.stderr
    missing = subprocess.run(
        [binary(), "--home", served.home, "replay", "never-asked"], capture_output=True, text=True, check=False
    )
    assert missing.returncode == 3


def test_sealed_inputs_open_until_their_subject_is_erased(served):
    change(served, encrypt=["kind"], subject="kind")
    wait_until(
        lambda: requests.get(served.url + "/api/v1/deployments/arms", timeout=5).json().get("encrypt") == ["kind"]
    )
    time.sleep(0.3)  # the poller's next look
    ask(served, request_id="sealed", row=("alice-canary", 0.75))
    logged = requests.get(served.url + "/api/v1/predictions/sealed", timeout=5).json()
    assert logged["inputs"]["kind"].startswith("sealed1.")
    assert requests.post(served.url + "/api/v1/predictions/sealed/replay", timeout=10).json()["same"] is True
    for file in (served.home / "predictions").rglob("*"):
        assert not file.is_file() or b"alice-canary" not in file.read_bytes(), file
    erased = requests.post(served.url + "/api/v1/subjects/erase", json={"subject": "alice-canary"}, timeout=5)
    assert erased.status_code == 200, erased.text
    again = requests.post(served.url + "/api/v1/predictions/sealed/replay", timeout=10).json()
    assert again["same"] is False and "erased" in again["reason"], again
    assert "subject.erase" in slipway(served.home, "audit", "ls", "--action", "subject.")
    change(served, encrypt=[], subject="")


def test_a_rollout_goes_through_its_stages_by_itself(served):
    start = requests.post(
        served.url + "/api/v1/deployments/arms/rollouts",
        json={"candidate": "next", "stages": [0.4, 0.6], "min_requests": 5, "min_time": "200ms", "labels": False},
        timeout=5,
    )
    assert start.status_code == 200, start.text
    again = requests.post(served.url + "/api/v1/deployments/arms/rollouts", json={"candidate": "next"}, timeout=5)
    assert again.status_code == 409

    def newest():
        for _ in range(10):
            ask(served)
        return requests.get(served.url + "/api/v1/deployments/arms/rollouts", timeout=5).json()["rollouts"][0]

    wait_until(lambda: newest()["state"] == "promoted", 20)
    wait_until(lambda: loaded(served) == ["2"])
    assert newest()["candidate"]["requests"] > 10
    assert "rollout.promote" in slipway(served.home, "audit", "ls", "--action", "rollout.")


def test_the_log_can_be_queued_or_off(served):
    change(served, log="queued")
    time.sleep(0.3)
    ask(served, request_id="queued-1")
    wait_until(
        lambda: requests.get(served.url + "/api/v1/predictions/queued-1", timeout=5).status_code == 200
    )
    change(served, log="off")
    time.sleep(0.3)
    ask(served, request_id="unlogged")
    time.sleep(0.1)
    assert requests.get(served.url + "/api/v1/predictions/unlogged", timeout=5).status_code == 404


def test_metrics_are_what_prometheus_reads(served):
    ask(served)
    page = requests.get(served.url + "/metrics", timeout=5).text
    families = {family.name: family for family in text_string_to_metric_families(page)}
    for name in ("slipway_serving_requests", "slipway_serving_latency_seconds", "nv_inference_request_success"):
        assert any(sample.value > 0 for sample in families[name].samples), name
    shares = {s.labels["alias"]: s.value for s in families["slipway_serving_weight_ratio"].samples}
    assert shares == {"champion": 1.0}
    if promtool := shutil.which("promtool"):
        checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
        # nv_* are Triton's names, which are not promtool's taste.
        complaints = [line for line in checked.stderr.splitlines() if line and not line.startswith("nv_")]
        assert not complaints, complaints
