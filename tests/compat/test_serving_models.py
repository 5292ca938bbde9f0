"""Models that the real MLflow logged, served from the registry and scored in batches: the numbers are the libraries' own."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import warnings

import cloudpickle
import lightgbm
import numpy as np
import pandas as pd
import pytest
import requests
import xgboost

warnings.filterwarnings("ignore")
import mlflow  # noqa: E402
from mlflow.models import infer_signature  # noqa: E402

from support.slipway_server import SlipwayServer, binary  # noqa: E402

BIN = str(binary())

COLUMNS = ["a", "b", "c", "d"]
# The worker cannot import this file: what it needs of it travels in the pickle.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(600, 4)), columns=COLUMNS)
    frame.loc[::9, "b"] = np.nan
    label = (frame.a + frame.c.abs() > 0.5).astype(int)
    return frame, label


class Doubler(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if (model_input["a"] == 666).any():
            os._exit(3)
        if (model_input["a"] == 777).any():
            time.sleep(60)
        if (model_input["a"] == 888).any():
            bytearray(64 << 30)
        if (model_input["a"] == 999).any():
            raise ValueError("not this one")
        return model_input["a"].to_numpy() * 2


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("models") / "home"
    options = ("--model-python", sys.executable, "--worker-timeout-ms", "3000")
    with SlipwayServer(home, args=options) as running:
        mlflow.set_tracking_uri(running.url)
        mlflow.set_experiment("models")
        yield running


def declare(server, *names):
    """Deployments of these names, by a pipeline that does nothing else."""
    steps = "".join(f"  {name}: {{deploy: {{name: {name}, model: {name}}}}}\n" for name in names)
    file = pathlib.Path(server.home).parent / f"{names[0]}.yaml"
    file.write_text(f"name: deploy-{names[0]}\nsteps:\n{steps}")
    subprocess.run([BIN, "--home", server.home, "run", file], check=True, capture_output=True)


def deploy(server, name):
    client = mlflow.MlflowClient()
    version = max(int(v.version) for v in client.search_model_versions(f"name='{name}'"))
    client.set_registered_model_alias(name, "champion", version)
    declare(server, name)
    end = time.time() + 40
    while time.time() < end:
        if requests.get(f"{server.url}/v2/models/{name}").status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError(requests.get(f"{server.url}/api/v1/deployments/{name}").text)


def infer(server, name, frame, **more):
    inputs = [
        {"name": column, "shape": [len(frame)], "datatype": "FP64", "data": [None if pd.isna(x) else float(x) for x in frame[column]]}
        for column in frame.columns
    ]
    return requests.post(f"{server.url}/v2/models/{name}/infer", json={"inputs": inputs, **more}, timeout=30)


def output(answer, name):
    assert answer.status_code == 200, answer.text
    found = next(o for o in answer.json()["outputs"] if o["name"] == name)
    return np.array(found["data"], dtype=float).reshape(found["shape"])


def test_an_xgboost_booster_gives_its_own_bits(server, data):
    frame, label = data
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 4}, xgboost.DMatrix(frame, label), 20)
    want = booster.predict(xgboost.DMatrix(frame))
    mlflow.xgboost.log_model(booster, name="m", registered_model_name="xgb", signature=infer_signature(frame, want))
    deploy(server, "xgb")
    answer = infer(server, "xgb", frame[:50], parameters={"contributions": True})
    assert (output(answer, "probability") == want[:50].astype(float)).all()
    theirs = booster.predict(xgboost.DMatrix(frame[:50]), pred_contribs=True)
    np.testing.assert_allclose(output(answer, "contributions"), theirs, rtol=1e-4, atol=1e-5)
    loaded = mlflow.pyfunc.load_model("models:/xgb@champion")
    assert (loaded.predict(frame[:50]) == want[:50]).all()


def test_xgboosts_classifier_stops_where_early_stopping_did_and_names_classes(server, data):
    frame, label = data
    classes = label + (frame.d > 0.7)
    model = xgboost.XGBClassifier(n_estimators=40, early_stopping_rounds=2, max_depth=3, learning_rate=0.9)
    model.fit(frame[:400], classes[:400], eval_set=[(frame[400:], classes[400:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    mlflow.xgboost.log_model(model, name="m", registered_model_name="xgb3", model_format="json")
    deploy(server, "xgb3")
    answer = infer(server, "xgb3", frame)
    want = model.predict_proba(frame)
    assert output(answer, "probability").shape == (600, 3)
    assert (output(answer, "probability") == want.astype(float)).all()
    assert (output(answer, "label") == model.predict(frame)).all()


def test_a_lightgbm_booster_gives_its_own_bits(server, data):
    frame, label = data
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(frame, label), 20)
    mlflow.lightgbm.log_model(booster, name="m", registered_model_name="lgb", input_example=frame[:2])
    deploy(server, "lgb")
    assert (output(infer(server, "lgb", frame), "probability") == booster.predict(frame)).all()


def test_scikit_learn_as_onnx_is_what_it_was(server, data):
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame, label = data
    whole = frame.fillna(0)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(whole.to_numpy(), label)
    exported = to_onnx(model, whole[:1].to_numpy().astype("float32"), options={"zipmap": False})
    mlflow.onnx.log_model(exported, name="m", registered_model_name="onnx", signature=infer_signature(whole, np.array([0.5])))
    deploy(server, "onnx")
    got = output(infer(server, "onnx", whole), "probability")
    np.testing.assert_allclose(got, model.predict_proba(whole.to_numpy())[:, 1], atol=2e-6)


def test_hostile_onnx_files_are_refused_and_the_server_lives(server, data, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    def model(nodes, initializers=()):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])
        graph = helper.make_graph(list(nodes), "g", [x], [y], list(initializers))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    outside = helper.make_tensor("w", TensorProto.FLOAT, [2], np.zeros(2, "f").tobytes(), raw=True)
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../../../etc/passwd")
    good = model([helper.make_node("Add", ["x", "x"], ["y"])]).SerializeToString()
    files = {
        "cycle": (model([helper.make_node("Add", ["x", "z"], ["y"]), helper.make_node("Add", ["y", "x"], ["z"])]), "ONNX"),
        "operator": (model([helper.make_node("Conjure", ["x"], ["y"])]), "Conjure"),
        "outside": (model([helper.make_node("Add", ["x", "w"], ["y"])], [outside]), "not a file inside"),
        "cut": (good[: len(good) // 2], "ONNX"),
    }
    client = mlflow.MlflowClient()
    for name, (content, _) in files.items():
        folder = tmp_path / name
        folder.mkdir()
        folder.joinpath("model.onnx").write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        folder.joinpath("MLmodel").write_text("flavors: {onnx: {data: model.onnx}}\n")
        with mlflow.start_run() as run:
            mlflow.log_artifacts(folder, "model")
        client.create_registered_model(f"bad-{name}")
        client.create_model_version(f"bad-{name}", f"runs:/{run.info.run_id}/model", run.info.run_id)
        client.set_registered_model_alias(f"bad-{name}", "champion", "1")
    declare(server, *(f"bad-{name}" for name in files))
    time.sleep(0.5)
    for name, (_, want) in files.items():
        answer = requests.post(f"{server.url}/v2/models/bad-{name}/infer", json={"inputs": []})
        assert answer.status_code == 503, (name, answer.text)
        assert want in answer.text, (name, answer.text)
    assert requests.get(f"{server.url}/v2/health/live").status_code == 200


def test_any_other_model_runs_in_a_worker_that_may_fail(server, data):
    frame, _ = data
    whole = frame[["a"]].fillna(0)
    mlflow.pyfunc.log_model(name="m", python_model=Doubler(), registered_model_name="py", input_example=whole[:2], pip_requirements=[])
    deploy(server, "py")
    assert (output(infer(server, "py", whole[:40]), "prediction") == whole.a[:40].to_numpy() * 2).all()

    def one(value):
        return infer(server, "py", pd.DataFrame({"a": [float(value)]}))

    def recovered():
        end = time.time() + 20
        while time.time() < end:
            answer = one(4)
            if answer.status_code == 200:
                return True
            assert answer.status_code == 503, answer.text
            time.sleep(0.1)
        return False

    refused = one(999)
    assert refused.status_code in (400, 409) and "not this one" in refused.text
    assert one(4).status_code == 200
    crashed = one(666)
    assert crashed.status_code == 503 and "exit code 3" in crashed.text
    assert recovered()
    started = time.time()
    hung = one(777)
    assert hung.status_code == 504 and time.time() - started < 6, hung.text
    assert recovered()
    assert one(888).status_code in (429, 503)
    assert recovered()


def predict(home, *arguments, **options):
    return subprocess.run([BIN, "--home", home, "predict", *arguments], capture_output=True, text=True, check=True, **options)


def test_a_batch_has_the_bits_of_serving_and_goes_on_after_a_kill(server, data, tmp_path):
    frame, label = data
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 8, "eta": 0.05}, xgboost.DMatrix(frame, label), 2000)  # some seconds of work
    mlflow.xgboost.log_model(booster, name="m", registered_model_name="batch", signature=infer_signature(frame, label))
    deploy(server, "batch")
    many = pd.concat([frame] * 700, ignore_index=True)
    many["row"] = np.arange(len(many))
    many.to_parquet(tmp_path / "in.parquet", row_group_size=100_000)
    command = [BIN, "--home", server.home, "predict", "batch", tmp_path / "in.parquet", tmp_path / "out.parquet", "--keep", "row", "--threads", "1"]
    killed = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.time() + 10
        while process.poll() is None and time.time() < end:
            journal = tmp_path / "out.parquet.journal"
            if journal.exists() and journal.read_bytes().count(b"\n") > 1 + 2 * killed:
                break
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            assert not (tmp_path / "out.parquet").exists()
    done = predict(server.home, "batch", tmp_path / "in.parquet", tmp_path / "out.parquet", "--keep", "row")
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert (out.row == many.row).all()
    want = np.tile(booster.predict(xgboost.DMatrix(frame)), 700).astype(float)
    assert (out.score == want).all()
    assert killed and "by the run before" in done.stdout
    served = output(infer(server, "batch", frame), "probability")
    assert (out.score[:600] == served).all()


def test_a_graph_of_models_is_one_model(server, data, tmp_path):
    frame, _ = data
    (tmp_path / "graph.yaml").write_text(
        "nodes:\n  x: {model: xgb@champion}\n  l: {model: lgb/1}\n  blend: {mean: [x, l]}\n"
        "  route: {switch: [{when: {column: a, above: 0}, use: blend}, {use: l}]}\noutput: route\n"
    )
    run = [BIN, "--home", server.home, "graph"]
    subprocess.run([*run, "check", tmp_path / "graph.yaml"], check=True, capture_output=True)
    subprocess.run([*run, "register", "blend", tmp_path / "graph.yaml", "--alias", "champion"], check=True, capture_output=True)
    deploy(server, "blend")
    xgb = output(infer(server, "xgb", frame), "probability")
    lgb = output(infer(server, "lgb", frame), "probability")
    want = np.where(frame.a > 0, (xgb + lgb) / 2, lgb)
    np.testing.assert_allclose(output(infer(server, "blend", frame), "probability"), want, rtol=1e-15)
    meta = mlflow.MlflowClient().get_model_version("blend", 1)
    assert meta.version in ("1", 1)
    (tmp_path / "bad.yaml").write_text("nodes: {x: {mean: [y]}, y: {mean: [x]}}\noutput: x\n")
    bad = subprocess.run([*run, "check", tmp_path / "bad.yaml"], capture_output=True, text=True)
    assert bad.returncode == 2 and "circle" in bad.stderr
