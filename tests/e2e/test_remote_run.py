"""`slipway run --server`: a pipeline run inside a server, followed and cancelled from outside."""

import json
import signal
import subprocess
import time

import pytest
import requests

from support.flights import slipway, slipway_json, small_pipeline
from support.slipway_server import SlipwayServer, binary

STEPS = """\
name: far
steps:
  first:
    command: 'sleep 0.3; echo one > $SLIPWAY_OUTPUT_OUT'
    outputs: [out]
  second:
    command: 'echo $MLFLOW_TRACKING_URI; cat $SLIPWAY_INPUT_IN > $SLIPWAY_OUTPUT_OUT'
    inputs: {in: "${steps.first.out}"}
    outputs: [out]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with SlipwayServer(tmp_path_factory.mktemp("remote") / "home") as running:
        yield running


def run(tmp_path, server, *args, steps=STEPS, check=True):
    file = small_pipeline(tmp_path, steps)
    return slipway(tmp_path / "unused", "run", "--server", server.url, file, *args, check=check)


def test_it_runs_there_and_is_told_here(tmp_path, server):
    report = json.loads(run(tmp_path, server, "--no-cache", "--json", "--reason", "a test"))
    assert report["state"] == "succeeded" and report["reason"] == "a test"
    assert [step["state"] for step in report["steps"]] == ["succeeded", "succeeded"]
    assert not (tmp_path / "unused").exists()
    assert report["job"]
    # The command heard where to track.
    assert server.url in open(report["steps"][1]["log"]).read()
    again = run(tmp_path, server)
    assert again.count("cached") == 2


def test_a_step_that_fails_ends_it_with_1_and_its_error(tmp_path, server):
    done = run(tmp_path, server, steps="name: bad\nsteps:\n  only: {command: 'echo broken >&2; exit 3'}\n", check=False)
    assert done.returncode == 1
    assert "only" in done.stderr and "3" in done.stderr


def test_a_file_that_is_not_there_or_not_sound_is_said(tmp_path, server):
    done = slipway(tmp_path / "unused", "run", "--server", server.url, tmp_path / "none.yaml", check=False)
    assert done.returncode == 2 and "none.yaml" in done.stderr
    done = run(tmp_path, server, steps="name: bad\nsteps:\n  only: {comand: 'true'}\n", check=False)
    assert done.returncode == 4 and "comand" in done.stderr, done.stderr


def test_no_server_is_said(tmp_path):
    done = slipway(tmp_path / "unused", "run", "--server", "http://127.0.0.1:9", small_pipeline(tmp_path, STEPS), check=False)
    assert done.returncode == 6 and "slipway up" in done.stderr


def test_ctrl_c_cancels_it_there(tmp_path, server):
    file = small_pipeline(tmp_path, "name: long\nsteps:\n  only: {command: 'sleep 60'}\n")
    process = subprocess.Popen([str(binary()), "run", "--server", server.url, str(file), "--json"], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        runs = requests.get(server.url + "/api/v1/pipelines/runs?pipeline=long", timeout=10).json()["runs"]
        if runs:
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["state"] == "cancelled"
    job = requests.get(f"{server.url}/api/v1/jobs/{json.loads(out)['job']}", timeout=10).json()
    assert job["state"] == "cancelled"


def test_a_job_whose_server_was_killed_is_done_once(tmp_path):
    """The child goes on without its server; the job that the next server takes up waits for it and finds its work."""
    counts = tmp_path / "counts"
    home = tmp_path / "home"
    steps = f"name: once\nsteps:\n  only: {{command: 'echo x >> {counts}; sleep 2; echo 1 > $SLIPWAY_OUTPUT_OUT', outputs: [out]}}\n"
    file = small_pipeline(tmp_path, steps)
    first = SlipwayServer(home)
    first.start()
    answer = requests.post(first.url + "/api/v1/pipelines/runs", json={"file": str(file)}, timeout=10)
    assert answer.status_code == 202
    deadline = time.monotonic() + 30
    while not counts.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    first.process.kill()
    first.process.wait()
    # By hand what the queue does when the lease has run out: the same job, taken up once more.
    done = json.loads(slipway(home, "run", "--job", answer.json()["job"], file, "--json"))
    assert [step["state"] for step in done["steps"]] == ["cached"]
    assert counts.read_text().split() == ["x"]


def test_a_server_that_asks_who_it_is_hears_a_token(tmp_path):
    home = tmp_path / "home"
    file = small_pipeline(tmp_path, STEPS)
    with SlipwayServer(home, args=("--auth",)) as server:
        slipway(home, "users", "add", "boss", "--admin", "--no-password")
        token = slipway_json(home, "tokens", "create", "boss")["token"]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # the server looks for new users now and then
            if requests.get(server.url + "/api/v1/pipelines/runs", headers={"Authorization": f"Bearer {token}"}, timeout=10).ok:
                break
            time.sleep(0.05)
        nobody = slipway(tmp_path / "unused", "run", "--server", server.url, file, check=False)
        assert nobody.returncode == 5, nobody.stderr
        done = slipway(tmp_path / "unused", "run", "--server", server.url, file, "--json", env={"SLIPWAY_TOKEN": token})
        assert json.loads(done)["state"] == "succeeded" and json.loads(done)["actor"] == "boss"
