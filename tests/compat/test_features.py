"""Features through the whole program: views of a key's past in training and serving; the pipeline as ONNX."""

import csv
import math
import random
import time

import numpy
import onnxruntime
import pyarrow.parquet
import pytest
import requests

from support.flights import slipway, slipway_json
from support.slipway_server import SlipwayServer

PIPELINE = """\
name: past
seed: 7
steps:
  history:
    ingest:
      sources: {history: {path: history.csv, types: {landed: timestamp, told: timestamp, delay: float64, airline: text}}}
      sql: SELECT * FROM history
      dataset: history
  rows:
    ingest:
      sources: {rows: {path: rows.csv, types: {decision: timestamp, x: float64, carrier: text, kind: text, late: int64}}}
      sql: SELECT * FROM rows
      dataset: rows
  train:
    train:
      dataset: ${steps.rows.dataset}
      window: {column: decision}
      target: late
      views:
        - name: past
          dataset: ${steps.history.dataset}
          by: {carrier: airline}
          at: decision
          event: landed
          known: told
          ttl: 2h
          values:
            last: {of: delay}
            mean: {of: delay, stat: mean, within: 1h}
            count: {stat: count, within: 1h}
      features:
        - {columns: "past.*", apply: [impute: {strategy: median, indicator: true}]}
        - {columns: x, apply: [impute: mean, standardize]}
      trainer: {rounds: 20, max_depth: 3}
      model: past
  register:
    register: {model: past, bundle: "${steps.train.bundle}", run_id: "${steps.train.run_id}", alias: champion}
  deploy:
    deploy: {name: past, model: "${steps.register.model}", alias: champion}
  plain:
    train:
      dataset: ${steps.rows.dataset}
      window: {column: decision}
      target: late
      features:
        - {columns: x, apply: [impute: {strategy: mean, indicator: true}, winsorize: 0.05, standardize]}
        - {columns: x, suffix: _mm, apply: [minmax: {clip: true}]}
        - {columns: x, suffix: _r, apply: [robust]}
        - {columns: x, suffix: _p, apply: [power]}
        - {columns: x, suffix: _l, apply: [log: {offset: 5, base: "2"}]}
        - {columns: x, suffix: _b, apply: [bins: 6, onehot: {}]}
        - {columns: x, suffix: _o, apply: [bins: {bins: 4, by: tree}]}
        - {columns: kind, apply: [onehot: {min_share: 0.1, unknown: bucket}]}
        - {columns: kind, suffix: _t, apply: [target_encode: 5]}
        - {columns: kind, suffix: _f, apply: [impute: {value: none, indicator: true}, frequency]}
        - {columns: carrier, apply: [ordinal]}
      trainer: {rounds: 5, max_depth: 2}
      model: plain
  register_plain:
    register: {model: plain, bundle: "${steps.plain.bundle}", run_id: "${steps.plain.run_id}", alias: champion}
"""


def moment(seconds):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_357_000_000 + seconds))


def write(path, heading, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)


def history_rows(rng, count):
    rows = []
    for _ in range(count):
        landed = rng.randrange(86_400)
        rows.append([f"C{rng.randrange(5)}", moment(landed), moment(landed + rng.randrange(3_000)), round(rng.gauss(10, 30), 1)])
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with both models, and what they were made of."""
    folder = tmp_path_factory.mktemp("features")
    rng = random.Random(3)
    history = history_rows(rng, 1500)
    write(folder / "history.csv", ["airline", "landed", "told", "delay"], history)
    rows = []
    for _ in range(800):
        x = "" if rng.random() < 0.1 else round(rng.gauss(3, 4), 3)
        kind = "" if rng.random() < 0.05 else f"k{int(rng.random() ** 2 * 12)}"
        rows.append([f"C{rng.randrange(6)}", moment(rng.randrange(90_000)), x, kind, int(rng.random() < 0.4)])
    rows.sort(key=lambda row: row[1])
    write(folder / "rows.csv", ["carrier", "decision", "x", "kind", "late"], rows)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    home = folder / "home"
    slipway(home, "run", folder / "pipeline.yaml")
    return folder, home, history, rows


def expected(history, carrier, decision):
    """The rule once more: (last, mean, count) of what was known."""
    seconds = lambda text: time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
    at = seconds(decision)
    known = [
        (seconds(landed), seconds(told), delay)
        for airline, landed, told, delay in history
        if airline == carrier and seconds(landed) <= at and seconds(told) <= at and at - seconds(landed) <= 7200
    ]
    known.sort(key=lambda event: (-event[0], -event[1], event[2]))
    hour = [delay for landed, _, delay in known if at - landed < 3600]
    return (known[0][2] if known else None, sum(hour) / len(hour) if hour else None, len(hour))


def infer(url, row):
    inputs = [
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": [row[0]]},
        {"name": "decision", "shape": [1], "datatype": "BYTES", "data": [row[1].replace(" ", "T") + "Z"]},
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [row[2] if row[2] != "" else None]},
    ]
    answer = requests.post(f"{url}/v2/models/past/infer", json={"inputs": inputs}, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"][0]


def test_a_single_row_is_answered_with_the_past_it_was_trained_on(made):
    folder, home, history, rows = made
    batch = [float(line) for line in slipway(home, "predict", "past", folder / "rows.csv").splitlines()]
    assert len(batch) == len(rows)
    with SlipwayServer(home) as server:
        alone = [infer(server.url, row) for row in rows[::40]]
    assert alone == batch[::40]
    # The past matters to the answers: with another carrier they are others.
    assert len(set(batch)) > 20


def test_views_tell_how_new_they_are_and_switch_while_the_server_runs(made):
    folder, home, history, rows = made
    (view,) = slipway_json(home, "features", "views")
    assert (view["name"], view["events"], view["keys"]) == ("past", 1500, 5)
    carrier, decision = "C1", moment(200_000)  # nothing of the old history reaches there
    assert expected(history, carrier, decision) == (None, None, 0)
    with SlipwayServer(home) as server:
        before = infer(server.url, [carrier, decision, 1.0])
        later = [[carrier, moment(199_000 + i), moment(199_100 + i), 400.0] for i in range(40)]
        write(folder / "history.csv", ["airline", "landed", "told", "delay"], history + later)
        spec = folder / "history.yaml"
        spec.write_text(
            "name: history\nsteps:\n  history:\n" + PIPELINE.split("  history:\n", 1)[1].split("  rows:\n", 1)[0]
        )
        slipway(home, "run", spec)
        views = folder / "views.yaml"
        block = PIPELINE.split("      views:\n", 1)[1].split("      features:\n", 1)[0].replace("${steps.history.dataset}", "history")
        views.write_text("views:\n" + block)
        slipway(home, "features", "materialise", views)
        deadline = time.monotonic() + 15
        while infer(server.url, [carrier, decision, 1.0]) == before:
            assert time.monotonic() < deadline, "the view was not switched:\n" + server.log()
            time.sleep(0.1)
    (view,) = slipway_json(home, "features", "views")
    assert view["events"] == 1540
    # The history has only grown: the model's certificate still holds, so the server starts again.
    with SlipwayServer(home) as server:
        infer(server.url, rows[0])


def test_onnx_runs_to_the_same_numbers(made, tmp_path):
    folder, home, _, rows = made
    slipway(home, "features", "export-onnx", "plain", "-o", tmp_path / "features.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "features.onnx", providers=["CPUExecutionProvider"])
    sample = [*rows, ["C9", moment(0), -1e300, "never seen", 0], ["", moment(0), 1e300, "", 0]]
    text = lambda at: numpy.array([[row[at] or "(missing)"] for row in sample], dtype=object)
    feeds = {
        "x": numpy.array([[math.nan if row[2] == "" else row[2]] for row in sample]),
        "kind": text(3),
        "carrier": text(0),
    }
    assert {each.name for each in session.get_inputs()} == set(feeds)
    (theirs,) = session.run(["features"], feeds)
    write(tmp_path / "sample.csv", ["carrier", "decision", "x", "kind", "late"], sample)
    slipway(home, "features", "transform", "plain", tmp_path / "sample.csv", "-o", tmp_path / "features.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "features.parquet")
    ours = numpy.column_stack([column.to_numpy(zero_copy_only=False).astype(float) for column in table.columns])
    assert ours.shape == theirs.shape
    assert (numpy.isnan(ours) == numpy.isnan(theirs)).all()
    numpy.testing.assert_allclose(theirs, ours, rtol=2e-6, atol=2e-6)


def test_onnx_names_what_it_has_no_operator_for(made, tmp_path):
    _, home, _, _ = made
    refused = slipway(home, "features", "export-onnx", "past", "-o", tmp_path / "no.onnx", check=False)
    assert refused.returncode != 0
    assert "looked up in a view" in refused.stderr
    assert not (tmp_path / "no.onnx").exists()
