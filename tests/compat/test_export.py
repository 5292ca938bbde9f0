"""`slipway export`: Parquet files that pyarrow reads, with every value, a manifest, and nothing half done."""

import hashlib
import json
import math
import os
import signal
import subprocess
import time

import pyarrow.parquet as parquet
import pytest
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from support.slipway_server import SlipwayServer, binary


def export(home, folder, *args, code=0):
    done = subprocess.run(
        [str(binary()), "export", str(folder), "--home", str(home), "--json", *args],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A home with runs and a model, and what was put into it."""
    home = tmp_path_factory.mktemp("export") / "home"
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        flights = client.create_experiment("flüge ✈", tags={"team": "späť"})
        other = client.create_experiment("other")
        run = client.create_run(flights, start_time=1_700_000_000_123, run_name="one").info.run_id
        points = [Metric("loss", 1 / (1 + step), 1_700_000_000_000 + step, step) for step in range(3000)]
        for at in range(0, 3000, 1000):
            client.log_batch(run, points[at : at + 1000])
        client.log_batch(
            run,
            [Metric("odd", value, 5, step) for step, value in enumerate([math.nan, math.inf, -0.5])],
            [Param("p", "välue\n\"'\\ 😀")],
            [RunTag("t", "x")],
        )
        client.log_inputs(run, [DatasetInput(Dataset("d", "abc", "local", "{}"), [])])
        client.set_terminated(run, "FINISHED", 1_700_000_100_000)
        gone = client.create_run(other).info.run_id
        client.log_metric(gone, "loss", 2.0)
        client.delete_run(gone)
        client.create_registered_model("late", tags={"owner": "me"})
        for _ in range(2):
            client.create_model_version("late", client.get_run(run).info.artifact_uri, run)
        client.set_registered_model_alias("late", "champion", "1")
        client.set_registered_model_alias("late", "champion", "2")
        yield home, {"flights": flights, "run": run, "gone": gone}, client


def rows(folder, table):
    return parquet.read_table(folder / f"{table}.parquet").to_pylist()


def test_every_value_is_in_the_files(story, tmp_path):
    home, ids, client = story
    manifest = export(home, tmp_path / "out")
    out = tmp_path / "out"
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert {p.name for p in out.iterdir()} == {"manifest.json"} | {t["file"] for t in manifest["tables"]}
    for table in manifest["tables"]:
        content = (out / table["file"]).read_bytes()
        assert len(content) == table["bytes"]
        assert hashlib.sha256(content).hexdigest() == table["sha256"]
        assert parquet.read_metadata(out / table["file"]).num_rows == table["rows"]

    experiments = {e["name"]: e for e in rows(out, "experiments")}
    assert experiments["flüge ✈"]["experiment_id"] == ids["flights"]
    assert {(t["key"], t["value"]) for t in rows(out, "experiment_tags")} == {("team", "späť")}
    runs = {r["run_id"]: r for r in rows(out, "runs")}
    assert len(runs) == 2
    one = runs[ids["run"]]
    assert (one["name"], one["status"], one["deleted"]) == ("one", "FINISHED", None)
    assert round(one["started"].timestamp() * 1000) == 1_700_000_000_123
    assert runs[ids["gone"]]["deleted"] is not None
    assert [(p["key"], p["value"]) for p in rows(out, "params")] == [("p", "välue\n\"'\\ 😀")]

    metrics = [m for m in rows(out, "metrics") if m["run_id"] == ids["run"]]
    for key in ("loss", "odd"):
        there = client.get_metric_history(ids["run"], key)
        here = [m for m in metrics if m["key"] == key]
        assert [m["step"] for m in here] == [m.step for m in there]
        assert [round(m["time"].timestamp() * 1000) for m in here] == [m.timestamp for m in there]
        assert all(a["value"] == b.value or (math.isnan(a["value"]) and math.isnan(b.value)) for a, b in zip(here, there))
    assert len(metrics) == 3003
    assert [d["name"] for d in rows(out, "dataset_inputs")] == ["d"]

    assert [m["name"] for m in rows(out, "models")] == ["late"]
    assert [v["version"] for v in rows(out, "versions")] == [1, 2]
    assert [(m["from_version"], m["to_version"]) for m in rows(out, "alias_moves")] == [(None, 1), (1, 2)]
    audit = rows(out, "audit")
    assert [a["sequence"] for a in audit] == list(range(len(audit)))
    assert [a["previous"] for a in audit[1:]] == [a["leaf"] for a in audit[:-1]]


def test_one_experiment_alone(story, tmp_path):
    home, ids, _ = story
    manifest = export(home, tmp_path / "out", "--experiment", "flüge ✈")
    names = {t["name"] for t in manifest["tables"]}
    assert {"runs", "metrics"} <= names and not {"audit", "models", "alias_moves"} & names
    assert [r["run_id"] for r in rows(tmp_path / "out", "runs")] == [ids["run"]]
    assert len(rows(tmp_path / "out", "metrics")) == 3003
    assert "nowhere" in export(home, tmp_path / "other", "--experiment", "nowhere", code=3)


def test_a_folder_that_is_there_is_never_touched(story, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    assert "there already" in export(story[0], tmp_path / "out", code=4)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]
    assert "no folder" in export(story[0], tmp_path / "a" / "b", code=3)


def test_a_killed_export_shows_nothing_and_is_cleaned_up_by_the_next(story, tmp_path):
    home = story[0]
    for delay in (0.01, 0.02, 0.03, 0.05, 0.08):
        process = subprocess.Popen(
            [str(binary()), "export", str(tmp_path / "out"), "--home", str(home)], stdout=subprocess.DEVNULL
        )
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "out").exists():
            assert (tmp_path / "out" / "manifest.json").exists()
            break
    if not (tmp_path / "out").exists():
        export(home, tmp_path / "out")
    assert parquet.read_table(tmp_path / "out" / "metrics.parquet").num_rows == 3004
    export(home, tmp_path / "again")
    assert not [p for p in os.listdir(tmp_path) if ".again" in p]
