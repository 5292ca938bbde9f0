"""MLflow's scoring protocol against slipway: MLflow's own client, every form of a body, and MLflow's form of errors."""

import pandas
import pytest
import requests
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from compat.test_triton_client import PIPELINE
from support.flights import slipway, small_pipeline
from support.slipway_server import SlipwayServer

ROWS = [{"x": 5.0, "kind": "a", "day": "2013-01-05"}, {"x": 90.0, "kind": "b", "day": "2013-01-06"}]
NAMES = ["x", "kind", "day"]
LISTS = [[row[name] for name in NAMES] for row in ROWS]
CSV = "kind,x,day\r\na,5.0,2013-01-05\r\n\"b\",90,2013-01-06\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("invocations") / "home"
    slipway(home, "run", small_pipeline(tmp_path_factory.mktemp("model"), PIPELINE))
    with SlipwayServer(home, args=("--no-grpc",)) as running:
        yield running


@pytest.fixture(scope="module")
def want(server):
    answer = requests.post(server.url + "/invocations", json={"dataframe_records": ROWS}, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_mlflows_client(server, want):
    client = ScoringServerClient("127.0.0.1", server.port)
    client.wait_server_ready(timeout=5)
    assert client.invoke(pandas.DataFrame(ROWS)).get_predictions()[0].tolist() == want


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": NAMES, "index": [0, 1], "data": LISTS}},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"inputs": {name: [row[name] for row in ROWS] for name in NAMES}},
        {"inputs": {name: [[row[name]] for row in ROWS] for name in NAMES}},
        {"inputs": ROWS, "params": {"ignored": 1}},
    ],
    ids=["split", "records", "instances", "inputs", "inputs of shape (n, 1)", "inputs as records"],
)
@pytest.mark.parametrize("path", ["/invocations", "/endpoints/triton/invocations"])
def test_every_form_says_the_same(server, want, body, path):
    answer = requests.post(server.url + path, json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == want


def test_csv(server, want):
    answer = requests.post(
        server.url + "/invocations", data=CSV, headers={"Content-Type": "text/csv; charset=utf-8"}, timeout=10
    )
    assert answer.json()["predictions"] == want


def test_values_that_are_missing(server):
    rows = [{"x": None, "kind": "a", "day": "2013-01-05"}]
    answer = requests.post(server.url + "/invocations", json={"dataframe_records": rows}, timeout=10)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "{}",
        '{"dataframe_split": 1}',
        '{"dataframe_split": {"columns": ["x"], "data": [[1, 2]]}}',
        '{"dataframe_split": {"columns": ["x", "kind", "day"], "data": []}}',
        '{"dataframe_records": [{"x": 1}]}',
        '{"dataframe_records": [1]}',
        '{"dataframe_records": [{"x": "much", "kind": "a", "day": "2013-01-05"}]}',
        '{"dataframe_records": [{"x": 1, "kind": "a", "day": "2013-01-05"}, {"x": 1, "weight": 2}]}',
        '{"instances": [], "inputs": []}',
        '{"instances": [[1]]}',
        '{"inputs": {"x": 1}}',
        '{"inputs": {"x": [1], "kind": ["a", "b"], "day": ["2013-01-05"]}}',
        "[" * 100_000,
    ],
    ids=lambda body: body[:40],
)
def test_bad_bodies_are_bad_requests_in_mlflows_form(server, body):
    answer = requests.post(server.url + "/invocations", data=body, headers={"Content-Type": "application/json"}, timeout=10)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == "BAD_REQUEST" and answer.json()["message"]


@pytest.mark.parametrize("body", ["", "x,kind,day\n", "x,kind,day\n1\n", 'x,kind,day\n"1,a,b', "x,kind,day\nmuch,a,2013-01-05\n"])
def test_bad_csv(server, body):
    answer = requests.post(server.url + "/invocations", data=body, headers={"Content-Type": "text/csv"}, timeout=10)
    assert answer.status_code == 400, answer.text


def test_deflate_and_gzip_both_ways(server, want):
    import gzip
    import json
    import zlib

    plain = json.dumps({"dataframe_records": ROWS}).encode()
    for coding, packed in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain))):
        answer = requests.post(
            server.url + "/invocations", data=packed, headers={"Content-Encoding": coding}, timeout=10
        )
        assert answer.json()["predictions"] == want
    many = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [500], "data": [1.0] * 500},
                       {"name": "kind", "datatype": "BYTES", "shape": [500], "data": ["a"] * 500},
                       {"name": "day", "datatype": "BYTES", "shape": [500], "data": ["2013-01-05"] * 500}]}
    url = server.url + "/v2/models/triton/infer"
    packed = requests.post(url, json=many, headers={"Accept-Encoding": "gzip"}, timeout=10)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.json()["outputs"][0]["data"]) == 500
    assert "Content-Encoding" not in requests.post(url, json=many, headers={"Accept-Encoding": "gzip;q=0"}, timeout=10).headers
