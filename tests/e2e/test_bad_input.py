"""What is wrong is said, with where and what to do, and the exit code tells whose fault it is."""

import socket

import pytest

from support.flights import slipway, small_pipeline
from support.slipway_server import binary, free_port

INGEST = """\
name: small
steps:
  ingest:
    ingest:
      sources: {rows: {path: rows.csv}}
      sql: SELECT * FROM rows
      dataset: rows
"""
TRAIN = INGEST + """\
  train:
    train:
      dataset: ${steps.ingest.dataset}
      window: {column: day}
      target: late
      features:
        - {columns: [x], apply: [passthrough]}
      trainer: {rounds: 3}
"""
HEAD = "id,day,x,kind,late\n"

CASES = {
    "missing file": (INGEST.replace("rows.csv", "none.csv"), None, ["none.csv"]),
    "empty file": (INGEST, "", ["rows.csv"]),
    "ragged CSV": (INGEST, HEAD + "a,2013-01-01,1,k,0\nb,2013-01-02,2\n" * 3, ["rows.csv"]),
    "wrong type in a column": (
        INGEST.replace("{path: rows.csv}", "{path: rows.csv, types: {x: int64}}"),
        HEAD + "a,2013-01-01,many,k,0\n",
        ["x", "many"],
    ),
    "unknown column in SQL": (INGEST.replace("SELECT *", "SELECT carrierr"), None, ["carrierr"]),
    "unknown step key": (INGEST.replace("dataset: rows", "datset: rows"), None, ["pipeline.yaml:7", "datset", "dataset"]),
    "unknown kind": (INGEST.replace("    ingest:", "    ingset:"), None, ["pipeline.yaml", "ingset", "ingest"]),
    "cyclic steps": (
        "name: small\nsteps:\n  a: {command: 'true', needs: [b]}\n  b: {command: 'true', needs: [a]}\n",
        None,
        ["pipeline.yaml:3", "a needs b needs a"],
    ),
    "two steps writing one name": (
        INGEST + "  again:\n    transform: {inputs: {r: rows}, sql: SELECT * FROM r, dataset: rows}\n",
        None,
        ["rows"],
    ),
    "missing target": (TRAIN.replace("target: late", "target: lat"), None, ["lat", "late"]),
    "unknown feature column": (TRAIN.replace("[x]", "[y_unknown]"), None, ["y_unknown"]),
    "one-class target": (TRAIN, HEAD + "".join(f"r{i},2013-01-0{1 + i % 9},{i},k,0\n" for i in range(50)), ["class"]),
    "all-null feature": (TRAIN, HEAD + "".join(f"r{i},2013-01-0{1 + i % 9},,k,{i % 2}\n" for i in range(50)), ["x"]),
    "leaking feature": (
        TRAIN.replace("target: late", "target: late\n      known: {decision: -1h, columns: {x: 0m}}"),
        None,
        ["x", "known"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_with_its_place(tmp_path, name):
    steps, rows, wanted = CASES[name]
    file = small_pipeline(tmp_path, steps, rows)
    done = slipway(tmp_path / "home", "run", file, check=False)
    assert done.returncode in (1, 2, 3, 4), done.stdout + done.stderr
    said = done.stdout + done.stderr
    for word in wanted:
        assert word in said, said


def test_a_gate_that_says_no_is_exit_code_7(tmp_path):
    steps = INGEST + (
        "  check:\n    validate:\n      dataset: ${steps.ingest.dataset}\n"
        "      expectations: [{check: row_count, min: 1000}]\n"
    )
    done = slipway(tmp_path / "home", "run", small_pipeline(tmp_path, steps), check=False)
    assert done.returncode == 7
    assert "refused" in done.stdout


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = slipway(tmp_path / "home", "up", "--port", port, check=False, timeout=30)
    assert done.returncode == 4
    assert str(port) in done.stderr


def test_an_address_that_is_not_loopback_is_refused(tmp_path):
    done = slipway(tmp_path / "home", "up", "--address", "0.0.0.0", "--port", free_port(), check=False, timeout=30)
    assert done.returncode == 4
    assert "--auth" in done.stderr and "127.0.0.1" in done.stderr


def test_a_second_server_on_one_home_is_refused(tmp_path):
    from support.slipway_server import SlipwayServer

    with SlipwayServer(tmp_path / "home"):
        done = slipway(tmp_path / "home", "up", "--port", free_port(), check=False, timeout=30)
    assert done.returncode == 4
    assert "in use" in done.stderr


@pytest.mark.parametrize("command", ["", "run", "up", "data", "runs", "models", "deployments", "alerts", "predict", "replay", "audit", "lineage", "doctor"])
def test_help_is_there_with_an_example(tmp_path, command):
    text = slipway(tmp_path, *command.split(), "--help")
    assert "Usage" in text


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    """A file in the folder's place, and a file system that takes nothing."""
    file = small_pipeline(tmp_path, INGEST)
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for home in (taken, "/proc/slipway"):
        for command in (["run", file], ["up", "--port", free_port()]):
            done = slipway(home, *command, check=False, timeout=30)
            assert done.returncode in (3, 4, 5), (home, command, done.stderr)
            assert str(home) in done.stderr


def test_odd_values_at_serving_time(tmp_path):
    """An unseen category and a missing value are answered; NaN and infinity in JSON are refused with their place."""
    import requests

    from support.slipway_server import SlipwayServer

    steps = TRAIN.replace(
        "        - {columns: [x], apply: [passthrough]}\n",
        "        - {columns: [x], apply: [impute: {strategy: mean}]}\n        - {columns: [kind], apply: [onehot: {}]}\n",
    ) + """\
      model: small
  register: {register: {model: small, bundle: "${steps.train.bundle}", run_id: "${steps.train.run_id}", alias: champion}}
  deploy: {deploy: {name: small, model: "${steps.register.model}", alias: champion}}
"""
    slipway(tmp_path / "home", "run", small_pipeline(tmp_path, steps))

    def body(x, kind):
        return ('{"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [%s]}, '
                '{"name": "kind", "shape": [1], "datatype": "BYTES", "data": [%s]}]}' % (x, kind))

    with SlipwayServer(tmp_path / "home") as server:
        url = server.url + "/v2/models/small/infer"
        for x, kind in (("5", '"a"'), ("5", '"never seen"'), ("null", '"a"'), ("5", "null")):
            answer = requests.post(url, data=body(x, kind), timeout=10)
            assert answer.status_code == 200, answer.text
            assert 0 <= answer.json()["outputs"][0]["data"][0] <= 1
        for x in ("NaN", "Infinity", "1e999", '"five"'):
            answer = requests.post(url, data=body(x, '"a"'), timeout=10)
            assert answer.status_code == 400, (x, answer.text)
            assert answer.json()["error"]
