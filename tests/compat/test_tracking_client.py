"""Logging as training scripts do it, through MLflow's real client: asynchronously, nested, with datasets, system
metrics, odd numbers and repeated requests."""

import math
import threading
import time
import uuid

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

GREATEST = 1.7976931348623157e308


@pytest.fixture()
def experiment(client):
    name = f"tracking {uuid.uuid4().hex}"
    return mlflow.set_experiment(name).experiment_id


@pytest.fixture()
def run_id(client, experiment):
    return client.create_run(experiment).info.run_id


def history(client, run_id, key):
    return [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run_id, key)]


class TestAsynchronousLogging:
    def test_what_was_logged_without_waiting_is_there_after_the_wait(self, client, run_id):
        operations = [client.log_metric(run_id, "loss", 1 / (step + 1), step=step, synchronous=False) for step in range(300)]
        operations.append(client.log_param(run_id, "depth", 6, synchronous=False))
        operations.append(client.set_tag(run_id, "team", "ops", synchronous=False))
        for operation in operations:
            operation.wait()
        run = client.get_run(run_id)
        assert [point[0] for point in history(client, run_id, "loss")] == list(range(300))
        assert run.data.metrics["loss"] == pytest.approx(1 / 300)
        assert run.data.params["depth"] == "6"
        assert run.data.tags["team"] == "ops"

    def test_the_fluent_interface_with_the_switch_of_the_environment(self, client, experiment, monkeypatch):
        monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
        with mlflow.start_run() as run:
            for step in range(100):
                mlflow.log_metrics({"a": step, "b": -step}, step=step)
            mlflow.log_params({f"p{i}": i for i in range(50)})
            mlflow.flush_async_logging()
        read = client.get_run(run.info.run_id)
        assert len(read.data.params) == 50
        assert read.data.metrics == {"a": 99.0, "b": -99.0}
        assert len(client.get_metric_history(run.info.run_id, "b")) == 100

    def test_a_refused_one_raises_when_waited_for(self, client, run_id):
        client.log_param(run_id, "depth", 1)
        with pytest.raises(MlflowException):
            client.log_param(run_id, "depth", 2, synchronous=False).wait()


class TestMetrics:
    @pytest.mark.parametrize(
        ("value", "seen"),
        [(0.1, 0.1), (-0.0, 0.0), (1e300, 1e300), (5e-324, 5e-324), (math.inf, GREATEST), (-math.inf, -GREATEST), (2**53 + 1, 2.0**53)],
    )
    def test_values_come_back_as_they_were(self, client, run_id, value, seen):
        client.log_metric(run_id, "m", value, timestamp=5, step=-3)
        assert history(client, run_id, "m") == [(-3, 5, seen)]
        assert client.get_run(run_id).data.metrics["m"] == seen

    def test_nan_is_nan(self, client, run_id):
        client.log_metric(run_id, "m", float("nan"))
        assert math.isnan(client.get_run(run_id).data.metrics["m"])
        assert math.isnan(client.get_metric_history(run_id, "m")[0].value)

    def test_a_repeated_request_changes_nothing(self, client, run_id):
        batch = [Metric("m", value, 7, step) for step, value in enumerate([1.0, float("nan"), 2.0] * 60)]
        for _ in range(3):
            client.log_batch(run_id, metrics=batch)
            client.log_batch(run_id, metrics=batch[:5])
        assert len(client.get_metric_history(run_id, "m")) == len(batch)

    def test_the_latest_value_is_of_the_greatest_step_then_time_then_value(self, client, run_id):
        for step, timestamp, value in [(5, 1, 1.0), (5, 2, 2.0), (5, 2, 1.5), (4, 9, 9.0)]:
            client.log_metric(run_id, "m", value, timestamp, step)
        assert client.get_run(run_id).data.metrics["m"] == 2.0
        assert [m[1] for m in history(client, run_id, "m")] == [1, 2, 2, 9]

    def test_long_histories_are_read_whole_and_in_pages(self, client, run_id, server):
        for begin in range(0, 5_000, 1_000):
            client.log_batch(run_id, [Metric("m", i / 7, 1_000 + i, i) for i in range(begin, begin + 1_000)])
        wanted = [(i, 1_000 + i, i / 7) for i in range(5_000)]
        assert history(client, run_id, "m") == wanted
        paged, token = [], ""
        while token is not None:
            page = requests.get(
                f"{server.url}/api/2.0/mlflow/metrics/get-history",
                {"run_id": run_id, "metric_key": "m", "max_results": 999, "page_token": token},
                timeout=30,
            ).json()
            paged += [(m["step"], m["timestamp"], m["value"]) for m in page["metrics"]]
            token = page.get("next_page_token")
        assert paged == wanted

    def test_many_threads_lose_nothing(self, client, run_id):
        failures = []

        def work(thread):
            try:
                for step in range(40):
                    client.log_metric(run_id, f"k{thread % 3}", thread, timestamp=thread, step=step)
            except Exception as e:  # noqa: BLE001
                failures.append(e)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not failures
        for key in ("k0", "k1", "k2"):
            assert len(client.get_metric_history(run_id, key)) == 160


class TestBatches:
    def post(self, server, body):
        return requests.post(f"{server.url}/api/2.0/mlflow/runs/log-batch", json=body, timeout=30)

    @pytest.mark.parametrize(
        "batch",
        [
            {"metrics": [{"key": "m", "value": 1, "timestamp": 1}] * 1001},
            {"params": [{"key": f"p{i}", "value": "1"} for i in range(101)]},
            {"tags": [{"key": f"t{i}", "value": "1"} for i in range(101)]},
            {
                "metrics": [{"key": "m", "value": 1, "timestamp": i} for i in range(950)],
                "params": [{"key": f"p{i}", "value": "1"} for i in range(51)],
            },
            {"params": [{"key": "p", "value": "1"}, {"key": "p", "value": "1"}]},
            {"metrics": [{"key": "m", "value": 1, "timestamp": -1}]},
            {"metrics": [{"key": "m", "value": 1, "timestamp": 1}, {"key": "../m", "value": 1, "timestamp": 1}]},
            {"metrics": [{"key": "m", "value": 1, "timestamp": 1}, {"key": "m", "value": "x", "timestamp": 1}]},
            {"metrics": [{"key": "m", "value": 1, "timestamp": 1}, {"key": "m", "timestamp": 1}]},
            {"metrics": [{"key": "m", "value": 1, "timestamp": 1.5}]},
            {"metrics": [{"key": "m", "value": 1, "timestamp": 1}], "tags": [{"key": "k" * 251, "value": "v"}]},
        ],
    )
    def test_over_the_limits_or_wrong_nothing_is_written(self, client, run_id, server, batch):
        before = client.get_run(run_id).data.tags
        answer = self.post(server, {"run_id": run_id, **batch})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
        data = client.get_run(run_id).data
        assert (data.metrics, data.params, data.tags) == ({}, {}, before)

    def test_a_full_batch_is_taken(self, client, run_id):
        client.log_batch(
            run_id,
            [Metric(f"m{i % 7}", i, i, i) for i in range(800)],
            [Param(f"p{i}", str(i)) for i in range(100)],
            [RunTag(f"t{i}", str(i)) for i in range(100)],
        )
        data = client.get_run(run_id).data
        assert (len(data.metrics), len(data.params)) == (7, 100)

    def test_numbers_may_come_as_text(self, client, run_id, server):
        metrics = [{"key": "m", "value": v, "timestamp": "7", "step": "3"} for v in ("1.5", "NaN", "Infinity", "-Infinity", 2)]
        assert self.post(server, {"run_id": run_id, "metrics": metrics}).status_code == 200
        assert len(client.get_metric_history(run_id, "m")) == 5

    def test_more_than_a_quarter_of_a_megabyte(self, client, run_id, server):
        tags = [{"key": f"t{i}", "value": "ä" * 4_000} for i in range(100)]
        assert self.post(server, {"run_id": run_id, "tags": tags}).status_code == 200
        assert client.get_run(run_id).data.tags["t99"] == "ä" * 4_000
        tags[50]["value"] = 7
        assert self.post(server, {"run_id": run_id, "tags": tags}).status_code == 400


class TestRuns:
    def test_nested_runs_know_their_parent(self, client, experiment):
        with mlflow.start_run(run_name="outer") as outer:
            with mlflow.start_run(run_name="inner", nested=True) as inner:
                mlflow.log_metric("m", 1)
            with mlflow.start_run(run_name="other", nested=True):
                pass
        assert client.get_parent_run(inner.info.run_id).info.run_id == outer.info.run_id
        children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{outer.info.run_id}'")
        assert {run.info.run_name for run in children} == {"inner", "other"}

    def test_view_types(self, client, experiment):
        kept, gone = (client.create_run(experiment).info.run_id for _ in range(2))
        client.delete_run(gone)
        with pytest.raises(MlflowException):
            client.log_metric(gone, "m", 1)
        seen = {
            view: {run.info.run_id for run in client.search_runs([experiment], run_view_type=view)}
            for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL)
        }
        assert list(seen.values()) == [{kept}, {gone}, {kept, gone}]
        client.restore_run(gone)
        client.log_metric(gone, "m", 1)

    def test_datasets_are_inputs_and_can_be_searched(self, client, experiment, server):
        frame = pd.DataFrame({"x": [1, 2], "y": [0.5, 1.5]})
        with mlflow.start_run() as run:
            mlflow.log_input(mlflow.data.from_pandas(frame, source="data.csv", name="frame", targets="y"), context="training")
            mlflow.log_input(mlflow.data.from_numpy(np.zeros((3, 2)), name="array"), context="validation")
            mlflow.log_input(mlflow.data.from_pandas(frame, source="data.csv", name="frame", targets="y"), context="training")
        inputs = client.get_run(run.info.run_id).inputs.dataset_inputs
        assert sorted((i.dataset.name, i.tags[0].value) for i in inputs) == [("array", "validation"), ("frame", "training")]
        assert "mlflow_colspec" in next(i.dataset.schema for i in inputs if i.dataset.name == "frame")
        for filter_string in ("datasets.name = 'frame'", "dataset.context = 'validation'", "datasets.name IN ('array', 'x')"):
            assert [r.info.run_id for r in client.search_runs([experiment], filter_string)] == [run.info.run_id]
        summaries = requests.post(
            f"{server.url}/ajax-api/2.0/mlflow/experiments/search-datasets", json={"experiment_ids": [experiment]}, timeout=30
        ).json()["dataset_summaries"]
        assert [(s["name"], s["context"]) for s in summaries] == [("array", "validation"), ("frame", "training")]

    def test_system_metrics(self, client, experiment):
        pytest.importorskip("psutil")
        mlflow.set_system_metrics_sampling_interval(0.2)
        mlflow.set_system_metrics_samples_before_logging(1)
        try:
            with mlflow.start_run(log_system_metrics=True) as run:
                deadline = time.monotonic() + 20
                while time.monotonic() < deadline and not client.get_run(run.info.run_id).data.metrics:
                    time.sleep(0.1)
        finally:
            mlflow.set_system_metrics_sampling_interval(None)
            mlflow.set_system_metrics_samples_before_logging(None)
        metrics = client.get_run(run.info.run_id).data.metrics
        assert "system/cpu_utilization_percentage" in metrics
        assert client.get_metric_history(run.info.run_id, "system/system_memory_usage_percentage")

    def test_a_frame_of_all_runs(self, client, experiment):
        for depth in (2, 4):
            with mlflow.start_run():
                mlflow.log_params({"depth": depth})
                mlflow.log_metrics({"auc": depth / 10, "nan": float("nan")})
        frame = mlflow.search_runs(experiment_ids=[experiment], order_by=["metrics.auc DESC"])
        assert list(frame["params.depth"]) == ["4", "2"]
        assert frame["metrics.nan"].isna().all()


class TestBulkHistories:
    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("get-history-bulk", {"metric_key": "m"}),
            ("get-history-bulk", {"metric_key": "m", "run_id": ["x"] * 101}),
            ("get-history-bulk", {"run_id": ["x"]}),
            ("get-history-bulk", {"run_id": ["x"], "metric_key": "m", "max_results": "many"}),
            ("get-history-bulk-interval", {"metric_key": "m"}),
            ("get-history-bulk-interval", {"run_ids": ["x"] * 101, "metric_key": "m"}),
            ("get-history-bulk-interval", {"run_ids": ["x"], "metric_key": "m", "max_results": 2501}),
            ("get-history-bulk-interval", {"run_ids": ["x"], "metric_key": "m", "max_results": 0}),
            ("get-history-bulk-interval", {"run_ids": ["x"], "metric_key": "m", "start_step": 1}),
            ("get-history-bulk-interval", {"run_ids": ["x"], "metric_key": "m", "start_step": 2, "end_step": 1}),
        ],
    )
    def test_wrong_questions_are_refused(self, server, path, query):
        answer = requests.get(f"{server.url}/ajax-api/2.0/mlflow/metrics/{path}", query, timeout=30)
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"

    def test_runs_that_are_not_there_have_no_points(self, server):
        for path, name in (("get-history-bulk", "run_id"), ("get-history-bulk-interval", "run_ids")):
            answer = requests.get(
                f"{server.url}/ajax-api/2.0/mlflow/metrics/{path}", {name: ["x"], "metric_key": "m"}, timeout=30
            )
            assert answer.json() == {"metrics": []}
