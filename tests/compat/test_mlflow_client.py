"""slipway through MLflow's real client: what works against MLflow's server works here."""

import math
import pathlib
import uuid

import mlflow
import pytest
import requests
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from support.mlflow_calls import error_code
from support.slipway_server import SlipwayServer

GREATEST = 1.7976931348623157e308


@pytest.fixture()
def experiment(client):
    return client.create_experiment(f"experiment {uuid.uuid4().hex}")


@pytest.fixture()
def run_id(client, experiment):
    return client.create_run(experiment).info.run_id


@pytest.fixture()
def model(client):
    return client.create_registered_model(f"model-{uuid.uuid4().hex}").name


class TestExperiments:
    def test_default_experiment_is_there(self, client):
        default = client.get_experiment("0")
        assert (default.name, default.lifecycle_stage) == ("Default", "active")

    def test_create_and_get(self, client):
        name = f"räume & zeiten {uuid.uuid4().hex}"
        made = client.create_experiment(name, tags={"team": "ops"})
        by_id = client.get_experiment(made)
        assert by_id.name == name
        assert by_id.tags == {"team": "ops"}
        assert by_id.artifact_location == f"mlflow-artifacts:/{made}"
        assert client.get_experiment_by_name(name).experiment_id == made
        assert client.get_experiment_by_name("nobody") is None

    def test_rename_tag_delete_restore(self, client, experiment):
        name = f"renamed {uuid.uuid4().hex}"
        client.rename_experiment(experiment, name)
        client.set_experiment_tag(experiment, "a", "1")
        client.set_experiment_tag(experiment, "b", "2")
        client.delete_experiment_tag(experiment, "b")
        found = client.get_experiment(experiment)
        assert (found.name, found.tags) == (name, {"a": "1"})
        client.delete_experiment(experiment)
        assert client.get_experiment(experiment).lifecycle_stage == "deleted"
        assert error_code(client.create_experiment, name) == "RESOURCE_ALREADY_EXISTS"
        client.restore_experiment(experiment)
        assert client.get_experiment(experiment).lifecycle_stage == "active"

    def test_search(self, client):
        mark = uuid.uuid4().hex
        ids = [client.create_experiment(f"{mark} {i}", tags={"i": str(i)}) for i in range(5)]
        client.delete_experiment(ids[4])
        found = client.search_experiments(filter_string=f"name LIKE '{mark}%'", order_by=["name ASC"])
        assert [e.experiment_id for e in found] == ids[:4]
        assert len(client.search_experiments(ViewType.ALL, filter_string=f"name LIKE '{mark}%'")) == 5
        tagged = client.search_experiments(filter_string=f"name LIKE '{mark}%' AND tags.i = '2'")
        assert [e.experiment_id for e in tagged] == [ids[2]]
        first = client.search_experiments(max_results=3, filter_string=f"name LIKE '{mark}%'", order_by=["name"])
        second = client.search_experiments(
            max_results=3, filter_string=f"name LIKE '{mark}%'", order_by=["name"], page_token=first.token
        )
        assert [e.experiment_id for e in [*first, *second]] == ids[:4]
        assert not second.token

    def test_errors(self, client):
        assert error_code(client.get_experiment, "999999") == "RESOURCE_DOES_NOT_EXIST"
        assert error_code(client.create_experiment, "") == "INVALID_PARAMETER_VALUE"


class TestRuns:
    def test_life_of_a_run(self, client, experiment):
        run = client.create_run(experiment, run_name="first", tags={"k": "v"}, start_time=1700000000000)
        run_id = run.info.run_id
        assert run.info.run_name == "first"
        assert run.info.status == "RUNNING"
        assert run.info.start_time == 1700000000000
        assert run.data.tags["k"] == "v"
        assert run.data.tags["mlflow.runName"] == "first"
        assert run.info.artifact_uri == f"mlflow-artifacts:/{experiment}/{run_id}/artifacts"
        client.update_run(run_id, status="SCHEDULED", name="second")
        assert client.get_run(run_id).info.run_name == "second"
        client.set_terminated(run_id, "FAILED", end_time=1700000001000)
        ended = client.get_run(run_id).info
        assert (ended.status, ended.end_time) == ("FAILED", 1700000001000)
        client.delete_run(run_id)
        assert client.get_run(run_id).info.lifecycle_stage == "deleted"
        assert error_code(client.log_param, run_id, "a", 1) == "INVALID_PARAMETER_VALUE"
        client.restore_run(run_id)
        assert client.get_run(run_id).info.lifecycle_stage == "active"

    def test_unnamed_run_gets_a_name(self, client, experiment):
        assert client.create_run(experiment).info.run_name

    def test_params_are_immutable(self, client, run_id):
        client.log_param(run_id, "depth", 6)
        client.log_param(run_id, "depth", 6)
        assert error_code(client.log_param, run_id, "depth", 7) == "INVALID_PARAMETER_VALUE"
        assert client.get_run(run_id).data.params == {"depth": "6"}

    def test_long_param_and_odd_keys(self, client, run_id):
        client.log_param(run_id, "a/b c.d-e_f:g", "ü" * 6000)
        assert client.get_run(run_id).data.params["a/b c.d-e_f:g"] == "ü" * 6000
        assert error_code(client.log_param, run_id, "../x", 1) == "INVALID_PARAMETER_VALUE"

    @pytest.mark.parametrize(
        ("value", "seen"),
        [
            (0.1 + 0.2, 0.1 + 0.2),
            (-0.0, 0.0),
            (5e-324, 5e-324),
            (1e308, 1e308),
            (math.inf, GREATEST),
            (-math.inf, -GREATEST),
            (math.nan, math.nan),
        ],
    )
    def test_metric_values(self, client, run_id, value, seen):
        client.log_metric(run_id, "m", value, timestamp=17, step=3)
        point = client.get_metric_history(run_id, "m")[0]
        assert (point.timestamp, point.step) == (17, 3)
        latest = client.get_run(run_id).data.metrics["m"]
        for got in (point.value, latest):
            assert math.isnan(got) if math.isnan(seen) else got == seen

    def test_history_and_latest(self, client, run_id):
        for step in (2, 0, 1):
            client.log_metric(run_id, "loss", step * 10.0, timestamp=100 + step, step=step)
        client.log_metric(run_id, "loss", 20.0, timestamp=102, step=2)  # the same again
        history = client.get_metric_history(run_id, "loss")
        assert [(p.step, p.value) for p in history] == [(0, 0.0), (1, 10.0), (2, 20.0)]
        assert client.get_run(run_id).data.metrics == {"loss": 20.0}
        assert client.get_metric_history(run_id, "nobody") == []

    def test_batch(self, client, run_id):
        metrics = [Metric("m", i / 7, 1000 + i, i) for i in range(900)]
        params = [Param(f"p{i}", str(i)) for i in range(50)]
        tags = [RunTag(f"t{i}", str(i)) for i in range(50)]
        client.log_batch(run_id, metrics, params, tags)
        data = client.get_run(run_id).data
        assert data.metrics == {"m": 899 / 7}
        assert len(data.params) == 50
        assert data.tags["t49"] == "49"
        assert [p.value for p in client.get_metric_history(run_id, "m")] == [i / 7 for i in range(900)]

    def test_batch_is_all_or_nothing(self, client, run_id):
        client.log_param(run_id, "fixed", "1")
        code = error_code(
            client.log_batch, run_id, [Metric("m", 1, 1, 1)], [Param("other", "1"), Param("fixed", "2")], []
        )
        assert code == "INVALID_PARAMETER_VALUE"
        data = client.get_run(run_id).data
        assert data.metrics == {}
        assert data.params == {"fixed": "1"}

    def test_tags(self, client, run_id):
        client.set_tag(run_id, "colour", "red")
        client.set_tag(run_id, "colour", "blue")
        assert client.get_run(run_id).data.tags["colour"] == "blue"
        client.delete_tag(run_id, "colour")
        assert "colour" not in client.get_run(run_id).data.tags
        assert error_code(client.delete_tag, run_id, "colour") == "RESOURCE_DOES_NOT_EXIST"
        client.set_tag(run_id, "mlflow.note.content", "# a note")
        assert client.get_run(run_id).data.tags["mlflow.note.content"] == "# a note"

    def test_dataset_inputs(self, client, run_id):
        dataset = Dataset("flights", "abc123", "local", "{}", schema="{}", profile="{}")
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        inputs = client.get_run(run_id).inputs.dataset_inputs
        assert [(i.dataset.name, i.dataset.digest) for i in inputs] == [("flights", "abc123")]
        assert [(t.key, t.value) for t in inputs[0].tags] == [("mlflow.data.context", "training")]

    def test_missing_run(self, client):
        assert error_code(client.get_run, "0" * 32) == "RESOURCE_DOES_NOT_EXIST"
        assert error_code(client.log_metric, "0" * 32, "m", 1) == "RESOURCE_DOES_NOT_EXIST"


class TestSearch:
    @pytest.fixture()
    def runs(self, client, experiment):
        """Six runs, newest last: auc of d is NaN; e and f have none."""
        ids = {}
        rows = [("a", 0.9, 6), ("b", 0.7, 6), ("c", 0.7, 8), ("d", math.nan, 8), ("e", None, 10), ("f", None, 10)]
        for i, (name, auc, depth) in enumerate(rows):
            run = client.create_run(experiment, run_name=name, start_time=1000 + i)
            if auc is not None:
                client.log_metric(run.info.run_id, "auc", auc)
            client.log_param(run.info.run_id, "max depth", depth)
            client.set_tag(run.info.run_id, "letter", name)
            if name != "f":
                client.set_terminated(run.info.run_id)
            ids[name] = run.info.run_id
        return ids

    @pytest.mark.parametrize(
        ("filter_string", "names"),
        [
            ("", "fedcba"),
            ("metrics.auc > 0.7", "a"),
            ("metrics.auc <= 0.7", "cb"),
            ("params.`max depth` = '6'", "ba"),
            ('params."max depth" LIKE "1%"', "fe"),
            ("tags.letter ILIKE 'A'", "a"),
            ("attributes.status = 'RUNNING'", "f"),
            ("attributes.run_name IN ('a', 'c')", "ca"),
            ("metrics.auc >= 0.7 AND params.`max depth` != '6'", "c"),
            ("attributes.start_time >= 1003", "fed"),
        ],
    )
    def test_filters(self, client, experiment, runs, filter_string, names):
        found = client.search_runs([experiment], filter_string)
        assert "".join(r.info.run_name for r in found) == names

    @pytest.mark.parametrize(
        ("order_by", "names"),
        [
            (["metrics.auc DESC"], "acbdfe"),
            (["metrics.auc ASC", "attributes.start_time ASC"], "bcadef"),
            (["params.`max depth` DESC", "tags.letter ASC"], "cdabef"),
            (["attribute.start_time ASC"], "abcdef"),
        ],
    )
    def test_orders(self, client, experiment, runs, order_by, names):
        found = client.search_runs([experiment], order_by=order_by)
        assert "".join(r.info.run_name for r in found) == names

    def test_pages(self, client, experiment, runs):
        names, token = "", None
        while True:
            page = client.search_runs([experiment], order_by=["metrics.auc DESC"], max_results=2, page_token=token)
            names += "".join(r.info.run_name for r in page)
            token = page.token
            if not token:
                break
        assert names == "acbdfe"

    def test_views_and_parents(self, client, experiment, runs):
        client.delete_run(runs["a"])
        names = lambda view: "".join(r.info.run_name for r in client.search_runs([experiment], run_view_type=view))
        assert names(ViewType.ACTIVE_ONLY) == "fedcb"
        assert names(ViewType.DELETED_ONLY) == "a"
        assert names(ViewType.ALL) == "fedcba"
        client.create_run(experiment, run_name="child", tags={"mlflow.parentRunId": runs["b"]})
        children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{runs['b']}'")
        assert [r.info.run_name for r in children] == ["child"]
        assert client.get_parent_run(children[0].info.run_id).info.run_id == runs["b"]

    @pytest.mark.parametrize("filter_string", ["metrics.auc LIKE 'x'", "colour = 'red'", "metrics.a > 1 AND", "x y z"])
    def test_bad_filters(self, client, experiment, filter_string):
        assert error_code(client.search_runs, [experiment], filter_string) == "INVALID_PARAMETER_VALUE"


class TestFluent:
    def test_nested_runs(self, client, server):
        mlflow.set_experiment(f"fluent {uuid.uuid4().hex}")
        with mlflow.start_run(run_name="parent") as parent:
            mlflow.log_params({"a": 1, "b": "x"})
            mlflow.log_metrics({"m": 1.0}, step=1)
            mlflow.set_tags({"t": "1"})
            mlflow.log_text("hello", "notes/hello.txt")
            mlflow.log_dict({"x": [1, 2]}, "x.json")
            with mlflow.start_run(run_name="child", nested=True) as child:
                mlflow.log_metric("m", 2.0)
        assert client.get_run(parent.info.run_id).info.status == "FINISHED"
        tags = client.get_run(child.info.run_id).data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert mlflow.artifacts.load_text(f"runs:/{parent.info.run_id}/notes/hello.txt") == "hello"
        assert mlflow.artifacts.load_dict(f"runs:/{parent.info.run_id}/x.json") == {"x": [1, 2]}

    def test_a_run_that_raises_is_failed(self, client):
        mlflow.set_experiment(f"fluent {uuid.uuid4().hex}")
        with pytest.raises(ValueError, match="on purpose"), mlflow.start_run() as run:
            raise ValueError("on purpose")
        assert client.get_run(run.info.run_id).info.status == "FAILED"


class TestArtifacts:
    def test_up_list_down(self, client, run_id, tmp_path):
        folder = tmp_path / "model"
        (folder / "data").mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}\n")
        (folder / "data" / "weights 50%.bin").write_bytes(bytes(range(256)) * 1000)
        (folder / "data" / "empty").write_bytes(b"")
        client.log_artifacts(run_id, str(folder), "model")
        client.log_artifact(run_id, str(folder / "MLmodel"))

        entries = lambda path=None: [(f.path, f.is_dir, f.file_size) for f in client.list_artifacts(run_id, path)]
        assert entries() == [("MLmodel", False, 12), ("model", True, None)]
        assert entries("model") == [("model/MLmodel", False, 12), ("model/data", True, None)]
        assert entries("model/MLmodel") == []

        down = tmp_path / "down"
        down.mkdir()
        got = client.download_artifacts(run_id, "model", str(down))
        for file in folder.rglob("*"):
            if file.is_file():
                assert (down / "model" / file.relative_to(folder)).read_bytes() == file.read_bytes()
        assert got == str(down / "model")

    def test_missing_artifact(self, client, run_id, tmp_path):
        with pytest.raises(Exception, match="nobody.txt"):
            client.download_artifacts(run_id, "nobody.txt", str(tmp_path))

    @pytest.mark.parametrize("path", ["..%2F..%2Fetc/passwd", "%2e%2e/x", "a/%2e%2e/%2e%2e/x", "a%5Cb", "%252e%252e/x"])
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_paths_that_climb_are_refused(self, server, method, path):
        session = requests.Session()
        request = requests.Request(method, server.url).prepare()
        request.url = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/{path}"  # as written, not made tidy
        answer = session.send(request)
        assert 400 <= answer.status_code < 500
        listing = requests.get(
            f"{server.url}/api/2.0/mlflow/artifacts/list", params={"run_id": "x", "path": "../.."}, timeout=30
        )
        assert 400 <= listing.status_code < 500


class TestRegistry:
    def test_models(self, client, model):
        client.update_registered_model(model, "what it is for")
        client.set_registered_model_tag(model, "team", "ops")
        client.set_registered_model_tag(model, "gone", "x")
        client.delete_registered_model_tag(model, "gone")
        found = client.get_registered_model(model)
        assert (found.description, found.tags) == ("what it is for", {"team": "ops"})
        assert error_code(client.create_registered_model, model) == "RESOURCE_ALREADY_EXISTS"
        names = [m.name for m in client.search_registered_models(f"name = '{model}'")]
        assert names == [model]
        client.rename_registered_model(model, f"{model}-renamed")
        assert client.get_registered_model(f"{model}-renamed").description == "what it is for"
        client.delete_registered_model(f"{model}-renamed")
        assert error_code(client.get_registered_model, model) == "RESOURCE_DOES_NOT_EXIST"

    def test_versions(self, client, model, run_id):
        source = client.get_run(run_id).info.artifact_uri + "/model"
        one = client.create_model_version(model, source, run_id, tags={"k": "v"}, description="first")
        two = client.create_model_version(model, f"runs:/{run_id}/model", run_id)
        assert (int(one.version), int(two.version)) == (1, 2)
        assert (one.status, one.current_stage, one.run_id) == ("READY", "None", run_id)
        found = client.get_model_version(model, "1")
        assert (found.source, found.tags, found.description) == (source, {"k": "v"}, "first")
        assert client.get_model_version_download_uri(model, "1") == source
        client.update_model_version(model, "1", "changed")
        client.set_model_version_tag(model, "1", "a", "b")
        client.delete_model_version_tag(model, "1", "k")
        found = client.get_model_version(model, "1")
        assert (found.tags, found.description) == ({"a": "b"}, "changed")
        numbers = [int(v.version) for v in client.search_model_versions(f"name = '{model}'")]
        assert numbers == [2, 1]
        assert [int(v.version) for v in client.search_model_versions(f"run_id = '{run_id}'")] == [2, 1]
        client.delete_model_version(model, "2")
        assert error_code(client.get_model_version, model, "2") == "RESOURCE_DOES_NOT_EXIST"
        third = client.create_model_version(model, source)
        assert int(third.version) == 3

    def test_aliases(self, client, model):
        for _ in range(2):
            client.create_model_version(model, "mlflow-artifacts:/0/models/m/artifacts")
        client.set_registered_model_alias(model, "champion", "1")
        assert int(client.get_model_version_by_alias(model, "champion").version) == 1
        client.set_registered_model_alias(model, "champion", "2")
        champion = client.get_model_version_by_alias(model, "champion")
        assert (int(champion.version), list(champion.aliases)) == (2, ["champion"])
        aliases = client.get_registered_model(model).aliases
        assert {k: int(v) for k, v in aliases.items()} == {"champion": 2}
        client.delete_registered_model_alias(model, "champion")
        with pytest.raises(MlflowException):
            client.get_model_version_by_alias(model, "champion")
        assert error_code(client.set_registered_model_alias, model, "latest", "1") == "INVALID_PARAMETER_VALUE"

    @pytest.mark.filterwarnings("ignore::FutureWarning")
    def test_stages(self, client, model):
        for _ in range(2):
            client.create_model_version(model, "mlflow-artifacts:/0/models/m/artifacts")
        client.transition_model_version_stage(model, "1", "Production")
        client.transition_model_version_stage(model, "2", "Production", archive_existing_versions=True)
        assert client.get_model_version(model, "1").current_stage == "Archived"
        latest = client.get_latest_versions(model, ["Production"])
        assert [int(v.version) for v in latest] == [2]

    def test_a_registered_model_is_downloaded_by_alias(self, client, model, run_id, tmp_path):
        bundle = tmp_path / "bundle"
        bundle.mkdir()
        (bundle / "MLmodel").write_text("flavors: {}\n")
        client.log_artifacts(run_id, str(bundle), "model")
        client.create_model_version(model, client.get_run(run_id).info.artifact_uri + "/model", run_id)
        client.set_registered_model_alias(model, "champion", "1")
        got = mlflow.artifacts.download_artifacts(f"models:/{model}@champion", dst_path=str(tmp_path / "got"))
        assert (tmp_path / "got" / "MLmodel").read_text() == "flavors: {}\n", got


class TestLoggedModels:
    def test_life_of_a_logged_model(self, client, experiment, run_id):
        params = {f"p{i}": str(i) for i in range(120)}  # more than one request carries
        made = client.create_logged_model(experiment, "late", run_id, {"k": "v"}, params, "classifier")
        assert (made.name, made.status.value, made.source_run_id) == ("late", "PENDING", run_id)
        assert made.params == params
        client.set_logged_model_tags(made.model_id, {"a": "b"})
        client.delete_logged_model_tag(made.model_id, "k")
        assert client.finalize_logged_model(made.model_id, "READY").status.value == "READY"
        found = client.get_logged_model(made.model_id)
        assert (found.tags, found.model_type) == ({"a": "b"}, "classifier")
        listed = client.search_logged_models([experiment], "name = 'late'")
        assert [m.model_id for m in listed] == [made.model_id]
        client.delete_logged_model(made.model_id)
        assert error_code(client.get_logged_model, made.model_id) == "RESOURCE_DOES_NOT_EXIST"

    def test_a_model_logged_by_mlflow_is_loaded_by_alias(self, client, model, tmp_path):
        from mlflow.models import Model

        class Flavor:
            """As small as a model flavour can be: one file."""

            @staticmethod
            def save_model(path, mlflow_model, **_):
                folder = pathlib.Path(path)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "weights.txt").write_text("1 2 3")
                mlflow_model.add_flavor("tiny", data="weights.txt")
                mlflow_model.save(str(folder / "MLmodel"))

        mlflow.set_experiment(f"models {uuid.uuid4().hex}")
        with mlflow.start_run() as run:
            logged = Model.log(artifact_path=None, name="tiny", flavor=Flavor, registered_model_name=model)
        assert client.get_logged_model(logged.model_id).status.value == "READY"
        assert [o.model_id for o in client.get_run(run.info.run_id).outputs.model_outputs] == [logged.model_id]
        client.set_registered_model_alias(model, "champion", "1")
        got = mlflow.artifacts.download_artifacts(f"models:/{model}@champion", dst_path=str(tmp_path / "got"))
        assert (tmp_path / "got" / "weights.txt").read_text() == "1 2 3", got
        assert [f.path for f in client.list_artifacts(run.info.run_id, "tiny")] == ["tiny/MLmodel", "tiny/weights.txt"]


class TestPlainHttp:
    def test_version(self, server):
        answer = requests.get(server.url + "/version", timeout=30)
        assert answer.status_code == 200
        assert answer.text.startswith("3.")

    @pytest.mark.parametrize("body", ["", "{", '"text"', "[]", "null", "{}"])
    def test_odd_bodies_are_errors_in_mlflows_form(self, server, body):
        answer = requests.post(
            server.url + "/api/2.0/mlflow/runs/log-metric",
            data=body,
            headers={"content-type": "application/json"},
            timeout=30,
        )
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
        assert answer.json()["message"]

    def test_data_outlives_the_server(self, tmp_path):
        with SlipwayServer(tmp_path / "home") as first:
            client = MlflowClient(first.url)
            run_id = client.create_run("0", run_name="kept").info.run_id
            client.log_metric(run_id, "m", 0.1)
            client.log_text(run_id, "hello", "a.txt")
        with SlipwayServer(tmp_path / "home") as second:
            client = MlflowClient(second.url)
            assert client.get_run(run_id).data.metrics == {"m": 0.1}
            assert [f.path for f in client.list_artifacts(run_id)] == ["a.txt"]
