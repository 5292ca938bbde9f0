"""slipway through Triton's real HTTP client, in both of its forms: JSON, and binary tensors (its default)."""

import math
import time

import numpy
import pytest
import requests
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from support.flights import slipway, small_pipeline

MODEL = "triton"
PIPELINE = """\
name: small
seed: 7
steps:
  ingest:
    ingest:
      sources: {rows: {path: rows.csv, types: {day: timestamp, x: float64}}}
      sql: SELECT * FROM rows
      dataset: rows
  train:
    train:
      dataset: ${steps.ingest.dataset}
      window: {column: day}
      target: late
      features:
        - {columns: [x], apply: [passthrough]}
        - {columns: [kind], apply: [onehot: {}]}
        - {columns: [day], apply: [datetime: {parts: [day]}]}
      trainer: {rounds: 20, max_depth: 3}
      model: triton
  register:
    register:
      model: triton
      bundle: ${steps.train.bundle}
      run_id: ${steps.train.run_id}
      alias: champion
  deploy:
    deploy: {name: triton, model: "${steps.register.model}", alias: champion}
"""

INPUTS = ("x", "kind", "day")


@pytest.fixture(scope="module")
def deployed(server, tmp_path_factory):
    """A small classifier behind the name `triton`, made beside the running server, which notices it by itself."""
    slipway(server.home, "run", small_pipeline(tmp_path_factory.mktemp("triton"), PIPELINE))
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    deadline = time.monotonic() + 20
    while not client.is_model_ready(MODEL):
        assert time.monotonic() < deadline, f"{MODEL} is not served:\n{server.log()}"
        time.sleep(0.02)
    return server


@pytest.fixture()
def client(deployed):
    with triton.InferenceServerClient(deployed.url.removeprefix("http://"), concurrency=8) as client:
        yield client


def rows(x, kind, day, binary=True):
    """One input tensor per raw column."""
    values = {
        "x": numpy.array(x, dtype=numpy.float64),
        "kind": numpy.array(kind, dtype=object),
        "day": numpy.array(day, dtype=object),
    }
    inputs = []
    for name, datatype in zip(INPUTS, ("FP64", "BYTES", "BYTES")):
        tensor = triton.InferInput(name, list(values[name].shape), datatype)
        tensor.set_data_from_numpy(values[name], binary_data=binary)
        inputs.append(tensor)
    return inputs


def outputs(binary=True):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probability", "label")]


def test_server_and_model_say_what_they_are(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    server = client.get_server_metadata()
    assert server["name"] == "slipway"
    assert {"binary_tensor_data", "statistics", "parameters"} <= set(server["extensions"])
    model = client.get_model_metadata(MODEL)
    assert model["name"] == MODEL
    assert {tensor["name"]: tensor["datatype"] for tensor in model["inputs"]} == {"x": "FP64", "kind": "BYTES", "day": "BYTES"}
    assert [tensor["name"] for tensor in model["outputs"]] == ["probability", "label", "contributions"]
    assert client.is_model_ready(MODEL, model["versions"][0])
    assert not client.is_model_ready("nothing")
    assert not client.is_model_ready(MODEL, "99")


def test_json_and_binary_give_the_same_bits(client):
    x, kind, day = [3.0, 99.5, 61.0], ["a", "b", "zzz"], ["2013-01-01", "2013-01-02T05:00:00Z", "2013-01-03 05:00"]
    as_json = client.infer(MODEL, rows(x, kind, day, binary=False), outputs=outputs(binary=False))
    as_binary = client.infer(MODEL, rows(x, kind, day), outputs=outputs())
    default = client.infer(MODEL, rows(x, kind, day))
    for result in (as_binary, default):
        assert (result.as_numpy("probability") == as_json.as_numpy("probability")).all()
        assert (result.as_numpy("label") == as_json.as_numpy("label")).all()
    probability = as_json.as_numpy("probability")
    assert probability.dtype == numpy.float64 and probability.shape == (3,)
    assert probability[0] < 0.5 < probability[1]  # late is x > 60
    assert as_json.as_numpy("label").tolist() == (probability >= 0.5).astype(int).tolist()


def test_columns_of_rank_two_and_missing_values(client):
    flat = client.infer(MODEL, rows([7.0, math.nan], ["a", "a"], ["2013-01-01"] * 2))
    tall = client.infer(MODEL, rows([[7.0], [math.nan]], [["a"], ["a"]], [["2013-01-01"]] * 2))
    assert (flat.as_numpy("probability") == tall.as_numpy("probability")).all()
    assert numpy.isfinite(flat.as_numpy("probability")).all()


def test_the_id_comes_back_and_names_the_prediction(client):
    result = client.infer(MODEL, rows([7.0], ["a"], ["2013-01-01"]), request_id="my request 1").get_response()
    assert result["id"] == "my request 1"
    assert result["parameters"]["prediction_ids"] == ["my request 1"]
    with pytest.raises(InferenceServerException, match="used before"):
        client.infer(MODEL, rows([7.0], ["a"], ["2013-01-01"]), request_id="my request 1")


def test_an_explicit_version_is_served(client):
    version = client.get_model_metadata(MODEL)["versions"][0]
    result = client.infer(MODEL, rows([7.0], ["a"], ["2013-01-01"]), model_version=version)
    assert result.get_response()["model_version"] == version
    with pytest.raises(InferenceServerException, match="not loaded"):
        client.infer(MODEL, rows([7.0], ["a"], ["2013-01-01"]), model_version="99")


def test_errors_are_the_protocols(client, deployed):
    with pytest.raises(InferenceServerException, match="lacks 1 of the model's 3 inputs: 'day'"):
        client.infer(MODEL, rows([7.0], ["a"], ["2013-01-01"])[:2])
    with pytest.raises(InferenceServerException, match="nothing"):
        client.infer("nothing", rows([7.0], ["a"], ["2013-01-01"]))
    for body in ("[" * 200_000, '{"inputs":' + "[" * 200_000, '{"x":' * 200_000, "nonsense", ""):
        answer = requests.post(f"{deployed.url}/v2/models/{MODEL}/infer", data=body, timeout=30)
        assert answer.status_code == 400 and "error" in answer.json()


def test_requests_at_once_each_get_their_own_answer(client):
    alone = client.infer(MODEL, rows(list(range(0, 100)), ["a"] * 100, ["2013-01-01"] * 100)).as_numpy("probability")
    pending = [client.async_infer(MODEL, rows([float(x)], ["a"], ["2013-01-01"])) for x in range(100)]
    assert [request.get_result().as_numpy("probability")[0] for request in pending] == alone.tolist()


def test_compressed_answers_are_not_needed(client):
    """A client that offers to take gzip gets plain bytes, which every client understands."""
    result = client.infer(MODEL, rows([7.0], ["a"], ["2013-01-01"]), response_compression_algorithm="gzip")
    assert result.as_numpy("label").shape == (1,)


def test_statistics_count_rows_and_requests(client):
    before = client.get_inference_statistics(MODEL)["model_stats"][0]
    client.infer(MODEL, rows([1.0, 2.0], ["a", "b"], ["2013-01-01"] * 2))
    after = client.get_inference_statistics(MODEL)["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["execution_count"] - before["execution_count"] == 1


def test_every_answer_is_counted_for_prometheus(client, deployed):
    client.infer(MODEL, rows([1.0], ["a"], ["2013-01-01"]))
    page = requests.get(f"{deployed.url}/metrics", timeout=30).text
    assert f'slipway_serving_requests_total{{deployment="{MODEL}"' in page
