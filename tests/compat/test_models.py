"""Model flavours end to end: scikit-learn and XGBoost models logged, found, registered, loaded again and evaluated
through MLflow's real client."""

import json
import uuid

import mlflow
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import pytest
import requests
import xgboost
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV

from support.mlflow_calls import error_code

# MLflow 3 advises against pickled models at every load; stages are deprecated. Both are used all the same.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture()
def client(client):
    # The requirements of a logged model are otherwise inferred by loading it in a fresh interpreter, for seconds each.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_REQUIREMENTS_INFERENCE_RAISE_ERRORS", "false")
        yield client


@pytest.fixture()
def experiment(client):
    return mlflow.set_experiment(f"models {uuid.uuid4().hex}").experiment_id


@pytest.fixture()
def name():
    return f"model-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def table():
    """Two inputs, and a label that mostly follows from them."""
    rng = np.random.default_rng(7)
    inputs = pd.DataFrame({"x": rng.normal(size=200), "y": rng.normal(size=200)})
    label = (inputs.x + 0.5 * inputs.y + rng.normal(scale=0.3, size=200) > 0).astype(int)
    return inputs, label


@pytest.fixture(scope="module")
def classifier(table):
    return LogisticRegression().fit(*table)


def log_classifier(classifier, inputs, **more):
    return mlflow.sklearn.log_model(
        classifier,
        name="model",
        signature=infer_signature(inputs, classifier.predict(inputs)),
        input_example=inputs.head(3),
        pip_requirements=["scikit-learn"],
        **more,
    )


class TestSklearn:
    def test_every_uri_loads_the_same_model(self, client, experiment, classifier, table, name):
        inputs, _ = table
        with mlflow.start_run() as run:
            info = log_classifier(classifier, inputs, registered_model_name=name)
        client.set_registered_model_alias(name, "champion", "1")
        wanted = classifier.predict(inputs)
        uris = (
            f"runs:/{run.info.run_id}/model",
            f"models:/{name}/1",
            f"models:/{name}@champion",
            f"models:/{name}/latest",
            f"models:/{info.model_id}",
            info.model_uri,
        )
        for uri in uris:
            loaded = mlflow.sklearn.load_model(uri)
            assert (loaded.predict(inputs) == wanted).all(), uri
        assert (mlflow.pyfunc.load_model(uris[2]).predict(inputs) == wanted).all()

    def test_signature_and_example_come_back(self, client, experiment, classifier, table):
        inputs, _ = table
        with mlflow.start_run():
            info = log_classifier(classifier, inputs)
        read = mlflow.models.get_model_info(info.model_uri)
        assert read.signature == infer_signature(inputs, classifier.predict(inputs))
        assert [c.name for c in read.signature.inputs.inputs] == ["x", "y"]
        model = mlflow.pyfunc.load_model(info.model_uri)
        pd.testing.assert_frame_equal(model.input_example, inputs.head(3))
        with pytest.raises(MlflowException, match="Model is missing inputs"):
            model.predict(inputs[["x"]])

    def test_the_run_and_the_version_name_the_logged_model(self, server, client, experiment, classifier, table, name):
        with mlflow.start_run() as run:
            info = log_classifier(classifier, table[0], registered_model_name=name)
        model = client.get_logged_model(info.model_id)
        assert (str(model.status), model.name, model.source_run_id) == ("READY", "model", run.info.run_id)
        assert model.artifact_location == f"mlflow-artifacts:/{experiment}/models/{info.model_id}/artifacts"
        assert [m.model_id for m in client.get_run(run.info.run_id).outputs.model_outputs] == [info.model_id]
        # The client has no place for the version's model_id yet; the protocol has.
        answer = requests.get(
            f"{server.url}/api/2.0/mlflow/model-versions/get", params={"name": name, "version": "1"}
        ).json()["model_version"]
        assert (answer["model_id"], answer["run_id"]) == (info.model_id, run.info.run_id)
        assert client.get_model_version_download_uri(name, "1") == model.artifact_location
        made_into = json.loads(client.get_logged_model(info.model_id).tags["mlflow.modelVersions"])
        assert {"name": name, "version": "1"} in made_into

    def test_a_model_logged_by_path_into_a_run(self, client, experiment, classifier, tmp_path, name):
        """How MLflow 2 clients did it: files of the run, and a version whose source is runs:/."""
        mlflow.sklearn.save_model(classifier, tmp_path / "saved", pip_requirements=["scikit-learn"])
        with mlflow.start_run() as run:
            mlflow.log_artifacts(tmp_path / "saved", "old")
        version = mlflow.register_model(f"runs:/{run.info.run_id}/old", name)
        assert version.source == f"{run.info.artifact_uri}/old"
        assert mlflow.sklearn.load_model(f"models:/{name}/1").coef_.tolist() == classifier.coef_.tolist()

    @pytest.mark.parametrize(
        "uri", ["models:/nobody/1", "models:/nobody@champion", "models:/m-0123", f"runs:/{'0' * 32}/model"]
    )
    def test_models_that_are_not_there(self, client, uri):
        assert error_code(mlflow.sklearn.load_model, uri) == "RESOURCE_DOES_NOT_EXIST"


class TestXgboost:
    @pytest.mark.parametrize("make", ["sklearn api", "booster"])
    def test_log_and_load(self, client, experiment, table, name, make):
        inputs, label = table
        if make == "booster":
            model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(inputs, label), 5)
            answer = lambda m: m.predict(xgboost.DMatrix(inputs))
        else:
            model = xgboost.XGBClassifier(n_estimators=5).fit(inputs, label)
            answer = lambda m: m.predict(inputs)
        with mlflow.start_run() as run:
            info = mlflow.xgboost.log_model(
                model,
                name="trees",
                signature=infer_signature(inputs, answer(model)),
                input_example=inputs.head(2),
                registered_model_name=name,
                pip_requirements=["xgboost"],
            )
        for uri in (f"runs:/{run.info.run_id}/trees", f"models:/{name}/1", f"models:/{info.model_id}"):
            np.testing.assert_array_equal(answer(mlflow.xgboost.load_model(uri)), answer(model))


class TestAutolog:
    def test_sklearn(self, client, experiment, table):
        mlflow.sklearn.autolog(log_datasets=True)
        try:
            with mlflow.start_run() as run:
                model = LogisticRegression(C=0.5).fit(*table)
                model.score(*table)
        finally:
            mlflow.sklearn.autolog(disable=True)
        found = client.get_run(run.info.run_id)
        assert found.data.params["C"] == "0.5"
        assert 0.8 < found.data.metrics["training_accuracy_score"] <= 1
        assert any(key.startswith("LogisticRegression_score") for key in found.data.metrics)
        assert found.data.tags["estimator_name"] == "LogisticRegression"
        assert [d.tags[0].value for d in found.inputs.dataset_inputs] == ["train"]
        [made] = client.search_logged_models([experiment])
        assert made.source_run_id == run.info.run_id
        assert made.params["C"] == "0.5"
        # Metrics of the run that name the model and the dataset are the model's, too.
        assert {m.key for m in made.metrics} >= {"training_accuracy_score", "training_f1_score"}
        assert "confusion_matrix" in " ".join(a.path for a in client.list_artifacts(run.info.run_id))

    def test_sklearn_grid_search_makes_child_runs(self, client, experiment, table):
        mlflow.sklearn.autolog(log_models=False, max_tuning_runs=3)
        try:
            with mlflow.start_run() as run:
                GridSearchCV(LogisticRegression(), {"C": [0.1, 1, 10]}, cv=2).fit(*table)
        finally:
            mlflow.sklearn.autolog(disable=True)
        children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
        assert sorted(float(c.data.params["C"]) for c in children) == [0.1, 1, 10]
        assert "best_C" in client.get_run(run.info.run_id).data.params

    def test_xgboost(self, client, experiment, table):
        inputs, label = table
        mlflow.xgboost.autolog()
        try:
            with mlflow.start_run() as run:
                data = xgboost.DMatrix(inputs, label)
                xgboost.train({"max_depth": 2, "eval_metric": "logloss"}, data, 6, evals=[(data, "train")])
        finally:
            mlflow.xgboost.autolog(disable=True)
        found = client.get_run(run.info.run_id)
        assert (found.data.params["max_depth"], found.data.params["num_boost_round"]) == ("2", "6")
        history = client.get_metric_history(run.info.run_id, "train-logloss")
        assert [point.step for point in history] == list(range(6))
        assert history[-1].value < history[0].value
        names = {a.path for a in client.list_artifacts(run.info.run_id)}
        assert {"feature_importance_weight.json", "feature_importance_weight.png"} <= names
        [made] = client.search_logged_models([experiment])
        assert mlflow.xgboost.load_model(f"models:/{made.model_id}").num_boosted_rounds() == 6


class TestEvaluate:
    @pytest.mark.parametrize("evaluate", [mlflow.models.evaluate, mlflow.evaluate], ids=["models.evaluate", "evaluate"])
    def test_classifier(self, client, experiment, classifier, table, evaluate):
        inputs, label = table
        with mlflow.start_run() as run:
            info = log_classifier(classifier, inputs)
            result = evaluate(
                info.model_uri,
                inputs.assign(label=label),
                targets="label",
                model_type="classifier",
                evaluators=["default"],
                evaluator_config={"default": {"log_model_explainability": False}},
            )
        metrics = client.get_run(run.info.run_id).data.metrics
        assert metrics["accuracy_score"] == pytest.approx(classifier.score(inputs, label))
        assert metrics["roc_auc"] == result.metrics["roc_auc"]
        paths = {a.path for a in client.list_artifacts(run.info.run_id)}
        assert {"confusion_matrix.png", "roc_curve_plot.png"} <= paths
        assert {m.key for m in client.get_logged_model(info.model_id).metrics} >= {"accuracy_score", "roc_auc"}

    def test_regressor_of_a_function(self, client, experiment, table):
        inputs, _ = table
        target = 2 * inputs.x - inputs.y
        model = LinearRegression().fit(inputs, target)
        with mlflow.start_run() as run:
            mlflow.models.evaluate(
                model.predict,
                inputs.assign(target=target),
                targets="target",
                model_type="regressor",
                evaluators=["default"],
            )
        metrics = client.get_run(run.info.run_id).data.metrics
        assert metrics["r2_score"] == pytest.approx(1)
        assert metrics["mean_absolute_error"] == pytest.approx(0, abs=1e-9)


class TestLoggedModels:
    @pytest.fixture()
    def models(self, client, experiment):
        """Four models of one experiment, oldest first; their accuracy on two datasets."""
        made = []
        datasets = [("train", "d1"), ("test", "d2")]
        with mlflow.start_run() as run:
            for i, (kind, accuracy) in enumerate([("a", 0.5), ("a", 0.9), ("b", 0.7), ("b", None)]):
                model = client.create_logged_model(
                    experiment,
                    name=f"m{i}",
                    source_run_id=run.info.run_id,
                    tags={"kind": kind},
                    params={"depth": str(i)},
                    model_type="tree",
                )
                client.finalize_logged_model(model.model_id, "READY")
                made.append(model.model_id)
                for (dataset, digest), less in zip(datasets, (0, 0.2)):
                    if accuracy is not None:
                        client.log_metric(
                            run.info.run_id,
                            "accuracy",
                            accuracy - less,
                            dataset_name=dataset,
                            dataset_digest=digest,
                            model_id=model.model_id,
                        )
        return made

    @pytest.mark.parametrize(
        ("filter_string", "numbers"),
        [
            (None, "3210"),
            ("name = 'm1'", "1"),
            ("name LIKE 'm%' AND tags.kind = 'b'", "32"),
            ("params.depth != '2'", "310"),
            ("model_type = 'tree' AND attributes.name IN ('m0', 'm3')", "30"),
            ("status = 'READY'", "3210"),
            ("status = 'PENDING'", ""),
            ("metrics.accuracy >= 0.7", "21"),
            ("metrics.accuracy < 0.6", "20"),
            ("creation_timestamp > 0", "3210"),
        ],
    )
    def test_filters(self, client, experiment, models, filter_string, numbers):
        found = client.search_logged_models([experiment], filter_string)
        assert [models.index(m.model_id) for m in found] == [int(n) for n in numbers]

    @pytest.mark.parametrize(
        ("datasets", "numbers"),
        [
            ([{"dataset_name": "test"}], "1"),
            ([{"dataset_name": "train"}], "21"),
            ([{"dataset_name": "test", "dataset_digest": "d2"}], "1"),
            ([{"dataset_name": "test", "dataset_digest": "d1"}], ""),
            ([{"dataset_name": "test"}, {"dataset_name": "train"}], "21"),
        ],
    )
    def test_metrics_on_a_dataset(self, client, experiment, models, datasets, numbers):
        found = client.search_logged_models([experiment], "metrics.accuracy > 0.6", datasets)
        assert [models.index(m.model_id) for m in found] == [int(n) for n in numbers]

    @pytest.mark.parametrize(
        ("order", "numbers"),
        [
            ({"field_name": "name", "ascending": True}, "0123"),
            ({"field_name": "creation_timestamp", "ascending": True}, "0123"),
            ({"field_name": "metrics.accuracy", "ascending": False, "dataset_name": "train"}, "1203"),
            ({"field_name": "metrics.accuracy", "ascending": True, "dataset_name": "test"}, "0213"),
        ],
    )
    def test_orders(self, client, experiment, models, order, numbers):
        found = client.search_logged_models([experiment], order_by=[order])
        assert [models.index(m.model_id) for m in found] == [int(n) for n in numbers]

    def test_pages(self, client, experiment, models):
        first = client.search_logged_models([experiment], max_results=3)
        second = client.search_logged_models([experiment], max_results=3, page_token=first.token)
        assert [m.model_id for m in [*first, *second]] == models[::-1]
        assert not second.token

    def test_tags_params_and_delete(self, client, experiment, models):
        one = models[0]
        client.set_logged_model_tags(one, {"owner": "me"})
        client.delete_logged_model_tag(one, "kind")
        client.log_model_params(one, {"late": "1"})
        found = client.get_logged_model(one)
        assert (found.tags, found.params) == ({"owner": "me"}, {"depth": "0", "late": "1"})
        client.delete_logged_model(one)
        assert error_code(client.get_logged_model, one) == "RESOURCE_DOES_NOT_EXIST"
        assert len(client.search_logged_models([experiment])) == 3

    def test_metrics_come_with_the_model(self, client, experiment, models):
        metrics = client.get_logged_model(models[1]).metrics
        assert sorted((m.key, m.value, m.dataset_name, m.dataset_digest) for m in metrics) == [
            ("accuracy", pytest.approx(0.7), "test", "d2"),
            ("accuracy", 0.9, "train", "d1"),
        ]
        assert all(m.model_id == models[1] for m in metrics)

    def test_params_give_no_order(self, client, experiment, models):
        order = [{"field_name": "params.depth", "ascending": True}]
        assert error_code(client.search_logged_models, [experiment], order_by=order) == "INVALID_PARAMETER_VALUE"

    @pytest.mark.parametrize("bad", ["colour = 'red'", "name = ", "metrics.x LIKE 'a'", "name > 'a' OR name < 'b'"])
    def test_bad_filters(self, client, experiment, bad):
        assert error_code(client.search_logged_models, [experiment], bad) == "INVALID_PARAMETER_VALUE"
