"""Who may see and write traces, and who may have webhooks: those who may see and edit the experiment, and those who
manage the workspace."""

import re
import subprocess
import uuid

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.slipway_server import SlipwayServer, binary

PASSWORDS = {"ana": "ana's own long secret", "bo": "bo's quite other secret"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("access") / "home"
    # The users are there before the server is.
    with SlipwayServer(home, args=("--auth",)) as first:
        PASSWORDS["admin"] = re.search(r"with the password (\S+)", first.log())[1]
    for user in ("ana", "bo"):
        subprocess.run(
            [binary(), "users", "add", user, "--home", home], input=PASSWORDS[user] + "\n", text=True, check=True
        )
    with SlipwayServer(home, args=("--auth",)) as running:
        yield running


@pytest.fixture()
def ask(server):
    def send(user, method, path, **more):
        return requests.request(method, server.url + path, auth=(user, PASSWORDS[user]), **more)

    return send


@pytest.fixture()
def experiment(ask):
    made = ask("ana", "POST", "/api/2.0/mlflow/experiments/create", json={"name": uuid.uuid4().hex})
    assert made.status_code == 200, made.text
    return made.json()["experiment_id"]


def spans() -> tuple[str, bytes]:
    request = ExportTraceServiceRequest()
    trace_id = uuid.uuid4().bytes
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=trace_id, span_id=b"12345678", name="work", start_time_unix_nano=1, end_time_unix_nano=2
    )
    return "tr-" + trace_id.hex(), request.SerializeToString()


def log(ask, user, experiment):
    trace_id, body = spans()
    headers = {"content-type": "application/x-protobuf", "x-mlflow-experiment-id": experiment}
    return trace_id, ask(user, "POST", "/v1/traces", data=body, headers=headers)


def test_only_the_owner_of_the_experiment_sees_and_writes_its_traces(ask, experiment):
    trace_id, answer = log(ask, "ana", experiment)
    assert answer.status_code == 200, answer.text
    assert log(ask, "bo", experiment)[1].status_code in (403, 404)
    calls = [
        ("GET", f"/api/3.0/mlflow/traces/{trace_id}", {}),
        ("GET", "/api/3.0/mlflow/traces/get", {"params": {"trace_id": trace_id}}),
        ("GET", "/api/3.0/mlflow/traces/batchGet", {"params": {"trace_ids": [trace_id]}}),
        ("POST", "/api/3.0/mlflow/traces/batchGetInfos", {"json": {"trace_ids": [trace_id]}}),
        (
            "POST",
            "/api/3.0/mlflow/traces/search",
            {"json": {"locations": [{"mlflow_experiment": {"experiment_id": experiment}}]}},
        ),
        ("PATCH", f"/api/2.0/mlflow/traces/{trace_id}/tags", {"json": {"key": "k", "value": "v"}}),
        (
            "POST",
            f"/api/3.0/mlflow/traces/{trace_id}/assessments",
            {"json": {"assessment": {"assessment_name": "good", "feedback": {"value": True}}}},
        ),
        (
            "POST",
            "/api/2.0/mlflow/traces/delete-traces",
            {"json": {"experiment_id": experiment, "request_ids": [trace_id]}},
        ),
    ]
    for method, path, more in calls:
        refused = ask("bo", method, path, **more)
        assert refused.status_code in (403, 404) or trace_id not in refused.text, (method, path, refused.text)
        assert refused.status_code != 200 or "search" in path, (method, path)
    for method, path, more in calls:
        allowed = ask("ana", method, path, **more)
        assert allowed.status_code == 200, (method, path, allowed.text)


def test_a_trace_is_not_moved_into_an_experiment_of_ones_own(ask, experiment):
    trace_id, _ = log(ask, "ana", experiment)
    mine = ask("bo", "POST", "/api/2.0/mlflow/experiments/create", json={"name": uuid.uuid4().hex}).json()
    info = {
        "trace_id": trace_id,
        "trace_location": {"mlflow_experiment": {"experiment_id": mine["experiment_id"]}},
        "request_time": "2026-01-01T00:00:00Z",
    }
    answer = ask("bo", "POST", "/api/3.0/mlflow/traces", json={"trace": {"trace_info": info}})
    assert answer.status_code == 400
    assert ask("bo", "GET", f"/api/3.0/mlflow/traces/{trace_id}").status_code in (403, 404)


def test_webhooks_are_for_those_who_manage_the_workspace(ask):
    body = {"name": "bot", "url": "https://example.org/", "events": [{"entity": "PROMPT", "action": "CREATED"}]}
    made = ask("admin", "POST", "/api/2.0/mlflow/webhooks", json=body)
    assert made.status_code == 200, made.text
    webhook = made.json()["webhook"]["webhook_id"]
    for method, path, more in (
        ("POST", "/api/2.0/mlflow/webhooks", {"json": {**body, "name": "mine"}}),
        ("GET", "/api/2.0/mlflow/webhooks", {}),
        ("GET", f"/api/2.0/mlflow/webhooks/{webhook}", {}),
        ("PATCH", f"/api/2.0/mlflow/webhooks/{webhook}", {"json": {"name": "mine"}}),
        ("POST", f"/api/2.0/mlflow/webhooks/{webhook}/test", {"json": {}}),
        ("DELETE", f"/api/2.0/mlflow/webhooks/{webhook}", {}),
        ("GET", "/api/v1/webhooks/deliveries", {}),
        ("POST", "/api/v1/webhooks/bot/replay", {"json": {"from_event": 1}}),
    ):
        assert ask("ana", method, path, **more).status_code in (403, 404), (method, path)


def test_what_served_when_is_for_those_who_may_read_the_model(ask):
    name = f"m{uuid.uuid4().hex[:10]}"
    assert ask("ana", "POST", "/api/2.0/mlflow/registered-models/create", json={"name": name}).status_code == 200
    path = f"/api/v1/models/{name}/at?time=2026-01-01"
    assert ask("ana", "GET", path).status_code == 200
    assert ask("bo", "GET", path).status_code in (403, 404)
