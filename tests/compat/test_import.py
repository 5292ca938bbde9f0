"""`slipway import mlflow`: everything a real MLflow store holds is there afterwards, value by value.

The source is MLflow's own SqlAlchemyStore, filled in this process, or another slipway as the REST server it imitates.
"""

import json
import math
import os
import pathlib
import signal
import subprocess
import time

import mlflow
import pytest
import requests
from mlflow.entities import (
    Dataset,
    DatasetInput,
    ExperimentTag,
    InputTag,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils as client_utils

from support.postgres_server import PostgresServer
from support.slipway_server import SlipwayServer, binary

BIG = 1.7976931348623157e308  # what MLflow makes of infinity
RUNNING, FINISHED, FAILED = "RUNNING", "FINISHED", "FAILED"


def write(root: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = pathlib.Path(str(root).removeprefix("file://")) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class Filled:
    """An MLflow store with one of everything that is hard."""

    def __init__(self, folder: pathlib.Path, uri: str | None = None):
        self.uri = uri or f"sqlite:///{folder}/mlflow.db"
        theirs = self.uri.replace("postgresql:", "postgresql+psycopg2:")  # SQLAlchemy names the driver
        self.store = SqlAlchemyStore(theirs, str(folder / "artifacts"))
        self.registry = RegistryStore(theirs)
        store = self.store
        self.flights = store.create_experiment(
            "flüge ✈ 航班", tags=[ExperimentTag("team", "späť"), ExperimentTag("note", "a\nb'\"\\")]
        )
        self.gone = store.create_experiment("gone")
        self.empty = store.create_experiment("empty")

        self.parent = self.run(self.flights, "parent", 1_700_000_000_000)
        run_id = self.parent
        store.log_batch(
            run_id,
            metrics=[],
            params=[Param(f"p{i}", f"välue {i} 😀") for i in range(95)] + [Param("long", "x" * 6000)],
            tags=[RunTag("deploy/target:eu", "ja, bitte")],
        )
        points = [Metric("loss/train", 1 / (1 + step), 1_700_000_000_000 + step, step) for step in range(2500)]
        for at in range(0, len(points), 1000):
            store.log_batch(run_id, points[at : at + 1000], [], [])
        odd = [math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 0.1 + 0.2, 1e308]
        store.log_batch(run_id, [Metric("odd", v, 5, i) for i, v in enumerate(odd)], [], [])
        store.log_batch(run_id, [Metric("odd", math.nan, 6, -3), Metric("late", 2.0, 10, 1), Metric("late", 1.0, 20, 0)], [], [])
        store.log_batch(run_id, [Metric("same step", v, 7, 7) for v in (3.0, 1.0, 2.0, 3.0)], [], [])
        store.log_inputs(
            run_id,
            [
                DatasetInput(
                    Dataset("flights", "abc123", "local", '{"uri": "s3://x"}', schema='{"a": 1}', profile='{"rows": 3}'),
                    [InputTag("mlflow.data.context", "training"), InputTag("α", "β")],
                ),
                DatasetInput(Dataset("holdout", "def456", "local", "{}"), []),
            ],
        )
        write(
            store.get_run(run_id).info.artifact_uri,
            {
                "model/MLmodel": b"flavors: {}\n",
                "model/data/model.bin": os.urandom(300_000),
                "plots/ümlaut näme.png": b"\x89PNG",
                "leer.txt": b"",
            },
        )
        store.update_run_info(run_id, RunStatus.FINISHED, 1_700_000_100_000, "parent")

        self.child = self.run(self.flights, "child", 1_700_000_050_000, {"mlflow.parentRunId": self.parent})
        store.log_batch(self.child, [Metric("auc", 0.7, 1, 0)], [Param("depth", "3")], [])
        store.update_run_info(self.child, RunStatus.FAILED, 1_700_000_060_000, "child")
        self.running = self.run(self.flights, "still at it", 1_700_000_070_000)
        self.deleted = self.run(self.flights, "deleted", 1_700_000_080_000)
        store.log_batch(self.deleted, [Metric("auc", 0.1, 1, 0)], [Param("why", "bad")], [])
        write(store.get_run(self.deleted).info.artifact_uri, {"trace.log": b"gone but restorable"})
        store.delete_run(self.deleted)
        self.in_gone = self.run(self.gone, "with its experiment", 1_700_000_090_000)
        store.delete_experiment(self.gone)

        self.model = store.create_logged_model(
            self.flights,
            "late-model",
            self.parent,
            tags=[LoggedModelTag("stage", "gut")],
            params=[LoggedModelParameter("eta", "0.1")],
            model_type="xgboost",
        )
        write(self.model.artifact_location, {"MLmodel": b"m", "model.ubj": b"12345"})
        store.finalize_logged_model(self.model.model_id, LoggedModelStatus.READY)
        store.log_outputs(self.parent, [LoggedModelOutput(self.model.model_id, 4)])

        registry = self.registry
        registry.create_registered_model("late", [RegisteredModelTag("owner", "späť")], "predicts delay")
        source = store.get_run(self.parent).info.artifact_uri + "/model"
        registry.create_model_version("late", source, self.parent, [ModelVersionTag("gate", "passed")], description="one")
        mlflow.set_tracking_uri(theirs)  # the registry asks there for the model's files
        registry.create_model_version("late", f"models:/{self.model.model_id}", self.parent)
        mlflow.set_tracking_uri(None)
        registry.create_model_version("late", "s3://elsewhere/model", None)
        registry.create_model_version("late", source, self.parent)
        registry.delete_model_version("late", "4")
        registry.create_model_version("late", source, self.parent)
        registry.set_registered_model_alias("late", "champion", "1")
        registry.set_registered_model_alias("late", "challenger", "5")
        registry.transition_model_version_stage("late", "3", "Archived", False)

    def run(self, experiment, name, start, tags=None) -> str:
        tags = [RunTag(k, v) for k, v in (tags or {}).items()]
        return self.store.create_run(experiment, "jane", start, tags, name).info.run_id

    def search(self):
        experiments = [e.experiment_id for e in self.store.search_experiments(ViewType.ALL)]
        return self.store.search_runs(experiments, "", ViewType.ALL, max_results=1000)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return Filled(tmp_path_factory.mktemp("mlflow"))


def slipway(*args, home=None, env=None, **kwargs):
    command = [str(binary()), *args] + (["--home", str(home)] if home else [])
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, **(env or {})}, **kwargs
    )


def import_into(home, *args):
    done = slipway("import", "mlflow", *args, "--json", home=home)
    assert done.returncode in (0, 7), done.stderr
    return done.returncode, json.loads(done.stdout)


def counts(report):
    return {row["kind"]: (row["source"], row["target"]) for row in report["counts"]}


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b)) or a == b == 0


def point(metric):
    return (metric.timestamp, metric.step, 0.0 if math.isnan(metric.value) else metric.value, math.isnan(metric.value))


def history(store, run_id, key):
    return sorted(point(m) for m in store.get_metric_history(run_id, key))


def dataset(given):
    d = given.dataset
    return (d.name, d.digest, d.source_type, d.source, d.schema or "", d.profile or "", sorted((t.key, t.value) for t in given.tags))


def folder(root) -> dict[str, bytes]:
    root = pathlib.Path(root)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def compare(filled: Filled, server: SlipwayServer, tmp_path, same_experiment_ids=True) -> None:
    client_utils._artifact_repos_cache.clear()  # it goes by id, and ids are the same in each test's server
    client = MlflowClient(server.url)
    experiments = {e.name: e for e in client.search_experiments(ViewType.ALL)}
    for there in filled.store.search_experiments(ViewType.ALL):
        here = experiments[there.name]
        assert here.tags == there.tags
        assert here.lifecycle_stage == there.lifecycle_stage
        if there.name != "Default":  # that one was here before
            assert (here.creation_time, here.last_update_time) == (there.creation_time, there.last_update_time)
            assert here.experiment_id == there.experiment_id or not same_experiment_ids
    names = {e.experiment_id: e.name for e in filled.store.search_experiments(ViewType.ALL)}
    runs = filled.search()
    assert len(runs) == 5
    for there in runs:
        here = client.get_run(there.info.run_id)
        for field in ("run_id", "run_name", "user_id", "status", "start_time", "end_time", "lifecycle_stage"):
            assert getattr(here.info, field) == getattr(there.info, field), field
        assert client.get_experiment(here.info.experiment_id).name == names[there.info.experiment_id]
        assert here.data.params == there.data.params
        assert here.data.tags == there.data.tags
        assert here.data.metrics.keys() == there.data.metrics.keys()
        for key, value in there.data.metrics.items():
            assert same(here.data.metrics[key], value), (key, value, here.data.metrics[key])
            assert history(client, here.info.run_id, key) == history(filled.store, here.info.run_id, key)
        ours = sorted(map(dataset, here.inputs.dataset_inputs))
        assert ours == sorted(map(dataset, there.inputs.dataset_inputs))
        outputs = [(o.model_id, o.step) for o in (there.outputs.model_outputs if there.outputs else [])]
        assert [(o.model_id, o.step) for o in (here.outputs.model_outputs if here.outputs else [])] == outputs
        root = there.info.artifact_uri.removeprefix("file://")
        target = tmp_path / here.info.run_id
        target.mkdir()
        if folder(root):
            client.download_artifacts(here.info.run_id, "", str(target))
        assert folder(target) == folder(root)

    model = client.get_logged_model(filled.model.model_id)
    for field in ("name", "model_type", "source_run_id", "status", "creation_timestamp"):
        assert getattr(model, field) == getattr(filled.store.get_logged_model(model.model_id), field), field
    assert (model.params, model.tags) == ({"eta": "0.1"}, {"stage": "gut"})
    assert {f.path for f in client.list_logged_model_artifacts(model.model_id)} == {"MLmodel", "model.ubj"}

    here = client.get_registered_model("late")
    there = filled.registry.get_registered_model("late")
    assert (here.description, here.tags, here.creation_timestamp) == (there.description, there.tags, there.creation_timestamp)
    assert {alias: int(version) for alias, version in here.aliases.items()} == {"champion": 1, "challenger": 5}
    versions = {int(v.version): v for v in client.search_model_versions("name='late'")}
    assert sorted(versions) == [1, 2, 3, 5]
    for number, ours in versions.items():
        theirs = filled.registry.get_model_version("late", number)
        for field in ("run_id", "description", "current_stage", "status", "creation_timestamp", "tags"):
            assert (getattr(ours, field) or "") == (getattr(theirs, field) or ""), (number, field)
    assert versions[1].source == client.get_run(filled.parent).info.artifact_uri + "/model"
    assert versions[2].source == f"models:/{filled.model.model_id}"
    place = client.get_model_version_download_uri("late", "2")
    assert place == client.get_logged_model(filled.model.model_id).artifact_location
    assert versions[3].source == "s3://elsewhere/model"
    assert client.create_model_version("late", versions[1].source, filled.parent).version in (6, "6")


def test_an_imported_database_is_the_same_value_by_value(filled, tmp_path):
    code, report = import_into(tmp_path / "home", filled.uri)
    assert code == 0, report
    assert report["problems"] == []
    table = counts(report)
    assert table["runs"] == (5, 5)
    # 2500 of loss, 8 + 1 odd, 2 late, 3 of one step, 1 + 1 auc; what was logged twice counts once
    assert table["metric points"] == (2516, 2516)
    assert table["artifact files"] == (7, 7)
    assert table["aliases"] == (2, 2)
    with SlipwayServer(tmp_path / "home") as server:
        compare(filled, server, tmp_path)
    audit = slipway("audit", "verify", home=tmp_path / "home")
    assert audit.returncode == 0, audit.stdout


def test_the_same_goes_into_postgresql_and_out_again(filled, tmp_path):
    home = tmp_path / "home"
    with PostgresServer() as postgres:
        subprocess.run(
            [postgres.programs / "createdb", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", postgres.USER, "slipway"],
            check=True,
        )
        with SlipwayServer(home, args=("--database", postgres.url("slipway"))) as server:
            code, report = import_into(home, filled.uri)  # the home knows its database by now
            assert code == 0, report
            assert import_into(home, filled.uri)[1]["new_runs"] == 0
            compare(filled, server, tmp_path, same_experiment_ids=False)
            out = slipway("export", str(tmp_path / "out"), "--json", home=home)
            assert out.returncode == 0, out.stderr
            tables = {table["name"]: table["rows"] for table in json.loads(out.stdout)["tables"]}
            assert (tables["runs"], tables["metrics"], tables["versions"]) == (5, 2516, 5)  # one is compare's
            gone = slipway("gc", "--older-than", "0s", "--grace", "0s", "--json", home=home)
            assert gone.returncode == 0, gone.stderr
            assert {row["experiment"]: row["runs"] for row in json.loads(gone.stdout)["purged"]} == {
                "flüge ✈ 航班": 1,
                "gone": 1,
            }
            assert json.loads(gone.stdout)["blobs"]["garbage"]["bytes"] == len(b"gone but restorable")


def test_a_postgresql_database_is_read_like_a_file(tmp_path):
    (tmp_path / "mlflow").mkdir()
    with PostgresServer() as postgres:
        subprocess.run(
            [postgres.programs / "createdb", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", postgres.USER, "theirs"],
            check=True,
        )
        source = Filled(tmp_path / "mlflow", postgres.url("theirs"))
        code, report = import_into(tmp_path / "home", source.uri)
        assert code == 0, report
        with SlipwayServer(tmp_path / "home") as server:
            compare(source, server, tmp_path)
        source.store.engine.dispose()
        source.registry.engine.dispose()


def test_importing_again_changes_nothing_and_takes_up_what_is_new(filled, tmp_path):
    home = tmp_path / "home"
    assert import_into(home, filled.uri)[0] == 0
    code, again = import_into(home, filled.uri)
    assert (code, again["new_runs"]) == (0, 0)
    late = filled.run(filled.empty, "late comer", 1_700_000_200_000)
    filled.store.log_batch(late, [Metric("auc", 0.9, 1, 1)], [], [])
    try:
        code, more = import_into(home, filled.uri)
        assert (code, more["new_runs"]) == (0, 1)
        assert counts(more)["runs"] == (6, 6)
    finally:
        filled.store.delete_run(late)
        filled.store._hard_delete_run(late)


def test_only_the_named_experiments_and_their_versions_come(filled, tmp_path):
    home = tmp_path / "home"
    code, report = import_into(home, filled.uri, "--experiment", "gone")
    assert code == 0
    assert counts(report)["runs"] == (1, 1)
    assert counts(report)["registered models"] == (0, 0)
    done = slipway("import", "mlflow", filled.uri, "--experiment", "nowhere", home=home)
    assert done.returncode == 3
    assert "nowhere" in done.stderr


def test_an_experiment_that_was_here_is_joined_not_replaced(filled, tmp_path):
    home = tmp_path / "home"
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        mine = client.create_experiment("flüge ✈ 航班", tags={"team": "mine", "own": "yes"})
        client.create_run(mine)
        code, report = import_into(home, filled.uri)  # beside the running server
        assert code == 0, report
        experiment = client.get_experiment(mine)
        assert experiment.tags["own"] == "yes"
        assert len(client.search_runs([mine], run_view_type=ViewType.ALL)) == 5


def test_an_import_killed_anywhere_goes_on_where_it_was(filled, tmp_path):
    home = tmp_path / "home"
    command = [str(binary()), "import", "mlflow", filled.uri, "--home", str(home), "--threads", "1"]
    killed = 0
    for delay in (0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        if process.poll() is None:
            killed += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed > 0, "no import was cut off: the delays are too long for this machine"
    code, report = import_into(home, filled.uri)
    assert code == 0, report
    assert counts(report)["metric points"] == (2516, 2516)
    with SlipwayServer(home) as server:
        compare(filled, server, tmp_path)


def test_an_import_stops_when_it_is_told_to(filled, tmp_path):
    process = subprocess.Popen(
        [str(binary()), "import", "mlflow", filled.uri, "--home", str(tmp_path / "home"), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "home" / "slipway.db").exists():  # from here on it watches for signals
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130), err


def test_files_that_cannot_be_reached_are_said_and_fail_the_count(filled, tmp_path):
    store = SqlAlchemyStore(f"sqlite:///{tmp_path}/m.db", str(tmp_path / "art"))
    elsewhere = store.create_experiment("elsewhere", artifact_location="s3://bucket/x")
    run = store.create_run(elsewhere, "jane", 1, [], "far").info.run_id
    store.log_batch(run, [Metric("auc", 0.9, 1, 1)], [], [])
    code, report = import_into(tmp_path / "home", f"sqlite:///{tmp_path}/m.db")
    assert code == 7
    assert "s3://bucket/x" in report["problems"][0]
    code, report = import_into(tmp_path / "home2", f"sqlite:///{tmp_path}/m.db", "--no-artifacts")
    assert (code, report["problems"]) == (0, [])


def test_the_folder_behind_mlflows_proxy_is_named(tmp_path):
    store = SqlAlchemyStore(f"sqlite:///{tmp_path}/m.db", "mlflow-artifacts:/")
    run = store.create_run("0", "jane", 1, [], "proxied").info
    write(tmp_path / "elsewhere" / run.artifact_uri.removeprefix("mlflow-artifacts:/"), {"a.txt": b"x"})
    uri = f"sqlite:///{tmp_path}/m.db"
    code, report = import_into(tmp_path / "home", uri)
    assert (code, "--artifact-root" in report["problems"][0]) == (7, True)
    code, report = import_into(tmp_path / "home2", uri, "--artifact-root", str(tmp_path / "elsewhere"))
    assert (code, counts(report)["artifact files"]) == (0, (1, 1))


def test_a_running_server_gives_the_same_as_its_database(filled, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert import_into(first, filled.uri)[0] == 0
    with SlipwayServer(first) as source:
        code, report = import_into(second, source.url)
        assert code == 0, report
        assert counts(report)["metric points"] == (2516, 2516)
        assert counts(report)["artifact files"] == (7, 7)
        code, again = import_into(second, source.url + "/")
        assert (code, again["new_runs"]) == (0, 0)
    with SlipwayServer(second) as server:
        compare(filled, server, tmp_path)


def test_a_server_does_it_when_it_is_asked_to(filled, tmp_path):
    with SlipwayServer(tmp_path / "home") as server:
        done = slipway("import", "mlflow", filled.uri, "--server", server.url, "--json")
        assert done.returncode == 0, done.stderr
        assert counts(json.loads(done.stdout))["metric points"] == (2516, 2516)
        compare(filled, server, tmp_path)
        missing = slipway("import", "mlflow", "sqlite:////nowhere/m.db", "--server", server.url)
        assert (missing.returncode, "nowhere" in missing.stderr) == (4, True), missing.stderr
        wrong = slipway("import", "mlflow", "ftp://x", "--server", server.url)
        assert wrong.returncode == 2
        for body, words in (
            ({"source": "http://x", "sauce": 1}, "sauce"),
            ({"source": "postgresql://jane:secret@127.0.0.1/x"}, "PGPASSWORD"),
            ({"source": "https://jane:secret@127.0.0.1/x"}, "MLFLOW_TRACKING_PASSWORD"),
        ):
            answer = requests.post(server.url + "/api/v1/imports", json=body, timeout=10)
            assert (answer.status_code, words in answer.text, "secret" in answer.text) == (400, True, False)


def test_a_job_on_the_server_can_be_cancelled(filled, tmp_path):
    with SlipwayServer(tmp_path / "home") as server:
        job = requests.post(server.url + "/api/v1/imports", json={"source": filled.uri, "threads": 1}, timeout=10).json()["job"]
        requests.post(f"{server.url}/api/v1/jobs/{job}/cancel", json={}, timeout=10)
        deadline = time.monotonic() + 30
        while True:
            state = requests.get(f"{server.url}/api/v1/imports/{job}", timeout=10).json()["state"]
            if state not in ("queued", "leased"):
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert state in ("cancelled", "succeeded")
        done = slipway("import", "mlflow", filled.uri, "--server", server.url, "--json")
        assert done.returncode == 0, done.stderr
        compare(filled, server, tmp_path)


@pytest.mark.parametrize(
    ("uri", "code", "words"),
    [
        ("ftp://x", 2, "http://HOST:PORT"),
        ("sqlite:////nowhere/mlflow.db", 3, "nowhere"),
        ("http://127.0.0.1:9", 6, "127.0.0.1:9"),
        ("http://jane:secret@127.0.0.1:9", 2, "MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_a_wrong_source_is_refused_with_the_way_out(tmp_path, uri, code, words):
    done = slipway("import", "mlflow", uri, home=tmp_path / "home")
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "secret" not in done.stderr


def test_a_database_of_something_else_is_refused(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE runs (id INTEGER)")
    done = slipway("import", "mlflow", f"sqlite:///{tmp_path}/other.db", home=tmp_path / "home")
    assert done.returncode == 4
    assert "run_uuid" in done.stderr
