"""kill -9 anywhere: what was acknowledged is there afterwards, and nothing is done twice."""


import os
import random
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

from support.flights import run_flights, slipway, slipway_json, small_pipeline
from support.slipway_server import SlipwayServer, binary

CHAIN = "name: chain\nsteps:\n" + "".join(
    f"  s{i}:\n    command: 'echo x >> $COUNTS/s{i}; sleep 0.05; echo {i} > $SLIPWAY_OUTPUT_OUT'\n"
    f"    env: {{COUNTS: \"${{env.COUNTS}}\"}}\n    outputs: [out]\n" + (f"    needs: [s{i - 1}]\n" if i else "")
    for i in range(8)
)


def test_a_killed_run_resumes_from_its_last_finished_step(tmp_path):
    """Killed again and again at random moments, the run still ends, and no finished step runs twice."""
    file = small_pipeline(tmp_path, CHAIN)
    counts = tmp_path / "counts"
    counts.mkdir()
    env = {**os.environ, "COUNTS": str(counts)}
    home = tmp_path / "home"
    seed = random.randrange(1_000_000)
    print("seed", seed)
    rng = random.Random(seed)
    kills = 0
    for _ in range(100):
        process = subprocess.Popen([str(binary()), "--home", str(home), "run", str(file)], env=env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(rng.uniform(0.05, 0.5)) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    else:
        pytest.fail("it never ended")
    assert kills > 0
    again = slipway_json(home, "run", file, env={"COUNTS": str(counts)})
    assert {step["state"] for step in again["steps"]} == {"cached"}
    # At most one start beyond the first for each kill, and none of a step that had finished.
    starts = sum(len((counts / f"s{i}").read_text().split()) for i in range(8))
    assert starts <= 8 + kills
    states = {run["state"] for run in slipway_json(home, "pipelines", "ls")}
    assert "running" not in states


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    home = tmp_path_factory.mktemp("fault") / "home"
    run_flights(home, trials=1)
    return home


def request_body(name):
    columns = {"month": 4, "day_of_week": 2, "hour": 9, "sched_dep_minute": 540, "sched_arr_minute": 700, "distance": 1400,
               "planned_minutes": 160, "origin_traffic": 20, "dest_traffic": 3, "days_to_holiday": 12, "plane_age": 7, "seats": 150}
    inputs = [{"name": key, "shape": [1], "datatype": "INT64", "data": [value]} for key, value in columns.items()]
    inputs.append({"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]})
    return {"id": name, "inputs": inputs}


def complete_body(url, name):
    """A request with every input of the signature; what it does not name is null."""
    known = {i["name"]: i for i in request_body(name)["inputs"]}
    wanted = requests.get(url + "/v2/models/late", timeout=10).json()["inputs"]
    inputs = [known.get(i["name"], {"name": i["name"], "shape": [1], "datatype": i["datatype"], "data": [None]}) for i in wanted]
    return {"id": name, "inputs": inputs}


def test_a_killed_server_keeps_every_acknowledged_prediction_and_label(served):
    acknowledged, labelled = [], []
    server = SlipwayServer(served)
    server.start()
    template = complete_body(server.url, "x")
    stop = threading.Event()

    def load(worker):
        session = requests.Session()
        for i in range(100_000):
            if stop.is_set():
                return
            name = f"w{worker}-{i}"
            try:
                answer = session.post(server.url + "/v2/models/late/infer", json={**template, "id": name},
                                      headers={"x-slipway-time": "2013-04-01T09:00:00Z"}, timeout=5)
                if answer.status_code == 200:
                    acknowledged.append((name, answer.json()["outputs"][0]["data"][0]))
                if i % 5 == 0:
                    sent = session.post(server.url + "/api/v1/deployments/late/labels",
                                        json={"labels": [{"prediction_id": name, "label": 1}]}, timeout=5)
                    if sent.status_code == 200:
                        labelled.append(name)
            except requests.RequestException:
                return

    workers = [threading.Thread(target=load, args=(w,)) for w in range(4)]
    for worker in workers:
        worker.start()
    time.sleep(1.5)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    stop.set()
    for worker in workers:
        worker.join()
    assert len(acknowledged) > 100 and len(labelled) > 10

    with SlipwayServer(served) as again:
        session = requests.Session()
        for name, score in acknowledged:
            found = session.get(f"{again.url}/api/v1/predictions/{name}", timeout=10)
            assert found.status_code == 200, name
            assert found.json()["score"] == score
    with sqlite3.connect(served / "slipway.db") as db:
        kept = {row[0] for row in db.execute("SELECT prediction_id FROM labels")}
    assert set(labelled) <= kept
    assert slipway_json(served, "audit", "verify")["ok"]


def test_sigterm_answers_what_is_under_way_and_ends_with_0(served):
    server = SlipwayServer(served)
    server.start()
    template = complete_body(server.url, "x")
    answers, errors = [], []

    def load(worker):
        session = requests.Session()
        for i in range(100_000):
            try:
                answer = session.post(server.url + "/v2/models/late/infer", json={**template, "id": f"t{worker}-{i}"},
                                      headers={"x-slipway-time": "2013-04-01T10:00:00Z"}, timeout=5)
                answers.append(answer.status_code)
            except requests.ConnectionError:
                return
            except requests.RequestException as problem:
                errors.append(problem)
                return

    workers = [threading.Thread(target=load, args=(w,)) for w in range(3)]
    for worker in workers:
        worker.start()
    time.sleep(0.7)
    assert server.stop() == 0
    for worker in workers:
        worker.join()
    assert not errors and set(answers) <= {200, 503} and answers.count(200) > 50


def test_a_full_disk_leaves_no_half_artifact(tmp_path):
    """A small tmpfs as the home: the step fails with a clear error, nothing half-written is visible, and space heals it."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        steps = "name: full\nsteps:\n  big:\n    command: 'head -c 4000000 /dev/urandom > $SLIPWAY_OUTPUT_OUT'\n    outputs: [out]\n"
        file = small_pipeline(tmp_path, steps)
        filler = small / "filler"
        filler.write_bytes(b"x" * 3_000_000)
        done = slipway(small / "home", "run", file, check=False)
        assert done.returncode != 0
        said = (done.stdout + done.stderr).lower()
        assert "space" in said or '"errno":28' in said  # the log of the step may have no room either
        blobs = [p for p in (small / "home/blobs").rglob("*") if p.is_file() and p.parent.name != "tmp"]
        assert blobs == []
        filler.unlink()
        # The command writes 4 MB into the work folder, and it is moved into the store: it fits now.
        assert slipway(small / "home", "run", file, check=False).returncode == 0
    finally:
        subprocess.run(["umount", str(small)], check=False)
