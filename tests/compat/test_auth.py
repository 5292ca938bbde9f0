"""Users, tokens and grants, with the real MLflow client: two tenants on one server see nothing of each other."""

import base64
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from support.mlflow_auth_client import AuthServiceClient
from support.slipway_server import SlipwayServer, binary, free_port

PASSWORDS = {"ana": "ana's own long secret", "bo": "bo's quite other secret", "viewer": "looks but never touches"}


def slipway(home, *arguments, stdin=None, expect=0) -> str:
    result = subprocess.run(
        [str(binary()), "--home", str(home), *arguments], input=stdin, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == expect, f"{arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout.strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("auth") / "home"
    with SlipwayServer(home, args=("--auth",)) as server:
        for user in ("ana", "bo"):
            slipway(home, "users", "add", user, stdin=PASSWORDS[user] + "\n")
        slipway(home, "users", "add", "viewer", "--no-create", stdin=PASSWORDS["viewer"] + "\n")
        server.admin_password = re.search(r"with the password (\S+)", server.log())[1]
        wait_until_known(server, "viewer")
        yield server


@contextlib.contextmanager
def acting(server, user=None, password=None, token=None):
    """The environment as a user of the client sets it."""
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
    before = {name: os.environ.pop(name, None) for name in names}
    if user == "admin" and password is None:
        password = server.admin_password
    if user:
        os.environ["MLFLOW_TRACKING_USERNAME"] = user
        os.environ["MLFLOW_TRACKING_PASSWORD"] = password or PASSWORDS[user]
    if token:
        os.environ["MLFLOW_TRACKING_TOKEN"] = token
    mlflow.set_tracking_uri(server.url)
    try:
        yield MlflowClient(server.url)
    finally:
        for name in names:
            os.environ.pop(name, None)
            if before[name] is not None:
                os.environ[name] = before[name]


def ask(server, method, path, body=None, user=None, password=None, token=None, headers=None):
    """(status, headers, body) of a bare request."""
    headers = dict(headers or {})
    if user:
        secret = password or (server.admin_password if user == "admin" else PASSWORDS[user])
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode() if body is not None else None
    if data is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(server.url + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def wait_until_known(server, user):
    """The server looks for changes of other processes four times a second."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.3)  # a wrong try counts
        status, _, _ = ask(server, "GET", "/api/2.0/mlflow/users/current", user=user)
        if status == 200:
            return
        assert status in (401, 429)
    raise AssertionError(f"{user} is not known to the server")


def code_of(error) -> str:
    return error.value.error_code


def test_who_is_nobody_gets_401_in_each_familys_form(server):
    status, headers, body = ask(server, "POST", "/api/2.0/mlflow/experiments/search", {"max_results": 5})
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic realm=")
    assert json.loads(body)["error_code"] == "UNAUTHENTICATED"
    status, headers, body = ask(server, "GET", "/api/v1/deployments")
    assert (status, json.loads(body)["error"]["code"]) == (401, "unauthenticated")
    status, headers, body = ask(server, "GET", "/v2/models/late")
    assert status == 401 and "error" in json.loads(body)
    for path in ("/health", "/version", "/v2/health/live"):
        assert ask(server, "GET", path)[0] == 200
    assert ask(server, "GET", "/metrics")[0] == 401
    status, _, body = ask(server, "GET", "/metrics", user="admin")
    assert status == 200 and 'slipway_access_logins_total{outcome="password"}' in body


@pytest.mark.parametrize(
    "method, path",
    [
        ("HEAD", "/api/2.0/mlflow/experiments/search"),
        ("GET", "/api/2.0/mlflow/experiments/search/"),
        ("GET", "//api//2.0/mlflow/experiments/search"),
        ("GET", "/api/2.0/mlflow/%65xperiments/search"),
        ("GET", "/ajax-api/2.0/mlflow/experiments/search"),
        ("HEAD", "/metrics"),
        ("GET", "/metrics/"),
    ],
)
def test_no_spelling_of_a_path_gets_around_it(server, method, path):
    assert ask(server, method, path)[0] in (401, 404)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PATCH", "PROPFIND"])
def test_no_other_method_reaches_a_handler(server, method):
    status, _, body = ask(server, method, "/api/2.0/mlflow/experiments/search", headers={"X-HTTP-Method-Override": "GET"})
    assert status in (400, 401, 405) and "Default" not in body


def test_large_bodies_of_nobody_are_not_taken(server):
    status, _, _ = ask(server, "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x", {"x": "y" * 200_000})
    assert status == 401


def test_wrong_credentials_say_the_same_for_all(server):
    bodies = set()
    for user, password in (("ana", "wrong wrong wrong"), ("nobody.at.all", "wrong wrong wrong")):
        status, _, body = ask(server, "GET", "/api/2.0/mlflow/experiments/search", user=user, password=password)
        assert status == 401
        bodies.add(body)
    assert len(bodies) == 1
    with acting(server, "ana", "wrong wrong wrong") as client, pytest.raises(MlflowException, match="401|wrong"):
        client.search_experiments()


def test_two_tenants_see_nothing_of_each_other(server):
    with acting(server, "ana") as ana:
        experiment = ana.create_experiment("ana's flights")
        run = ana.create_run(experiment)
        ana.log_metric(run.info.run_id, "auc", 0.7)
        ana.log_text(run.info.run_id, "the secret of ana", "notes/secret.txt")
        ana.create_registered_model("ana-model", description="the secret of ana")
        version = ana.create_model_version("ana-model", f"runs:/{run.info.run_id}/notes", run.info.run_id)
        ana.set_registered_model_alias("ana-model", "champion", version.version)
        assert ana.get_run(run.info.run_id).info.user_id == "ana"
        assert [e.name for e in ana.search_experiments()] == ["ana's flights"]
        assert [m.name for m in ana.search_registered_models()] == ["ana-model"]
        assert len(ana.search_runs([experiment])) == 1
        assert ana.list_artifacts(run.info.run_id, "notes")[0].path == "notes/secret.txt"
        ana.set_tag(run.info.run_id, "again", "yes")

    with acting(server, "bo") as bo:
        assert bo.search_experiments() == []
        assert bo.search_registered_models() == []
        assert bo.search_model_versions("name = 'ana-model'") == []
        assert bo.get_experiment_by_name("ana's flights") is None
        calls = {
            "get_experiment": lambda: bo.get_experiment(experiment),
            "rename_experiment": lambda: bo.rename_experiment(experiment, "mine"),
            "delete_experiment": lambda: bo.delete_experiment(experiment),
            "create_run": lambda: bo.create_run(experiment),
            "get_run": lambda: bo.get_run(run.info.run_id),
            "search_runs": lambda: bo.search_runs([experiment]),
            "log_metric": lambda: bo.log_metric(run.info.run_id, "auc", 1.0),
            "log_param": lambda: bo.log_param(run.info.run_id, "a", "b"),
            "log_batch": lambda: bo.log_batch(run.info.run_id, tags=[mlflow.entities.RunTag("a", "b")]),
            "set_tag": lambda: bo.set_tag(run.info.run_id, "a", "b"),
            "delete_run": lambda: bo.delete_run(run.info.run_id),
            "history": lambda: bo.get_metric_history(run.info.run_id, "auc"),
            "list_artifacts": lambda: bo.list_artifacts(run.info.run_id),
            "log_text": lambda: bo.log_text(run.info.run_id, "x", "x.txt"),
            "get_model": lambda: bo.get_registered_model("ana-model"),
            "get_version": lambda: bo.get_model_version("ana-model", "1"),
            "by_alias": lambda: bo.get_model_version_by_alias("ana-model", "champion"),
            "set_alias": lambda: bo.set_registered_model_alias("ana-model", "champion", "1"),
            "download_uri": lambda: bo.get_model_version_download_uri("ana-model", "1"),
            "delete_model": lambda: bo.delete_registered_model("ana-model"),
            "create_version": lambda: bo.create_model_version("ana-model", f"runs:/{run.info.run_id}/model"),
        }
        for name, call in calls.items():
            with pytest.raises((MlflowException, requests.HTTPError)) as raised:
                call()
            message = str(raised.value)
            assert "RESOURCE_DOES_NOT_EXIST" in message or "404" in message, f"{name}: {message}"
            assert "secret of ana" not in message, name
        bo.create_registered_model("bo-model")
        with pytest.raises(MlflowException, match="may see"):
            bo.create_model_version("bo-model", f"runs:/{run.info.run_id}/notes")
        prefix = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run.info.run_id}/artifacts/notes/secret.txt"
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            assert ask(server, method, prefix, user="bo")[0] == 404, method
        listing = "/api/2.0/mlflow-artifacts/artifacts?path=" + urllib.parse.quote(f"{experiment}/{run.info.run_id}")
        assert ask(server, "GET", listing, user="bo")[0] == 404
        assert ask(server, "GET", "/api/2.0/mlflow-artifacts/artifacts", user="bo")[0] == 404
        attachment = f"/get-artifact?run_id={run.info.run_id}&path=notes/secret.txt"
        assert ask(server, "GET", attachment, user="bo")[0] == 404
        # What is hidden and what is not there are answered alike.
        hidden = ask(server, "GET", f"/api/2.0/mlflow/runs/get?run_id={run.info.run_id}", user="bo")
        missing = ask(server, "GET", f"/api/2.0/mlflow/runs/get?run_id={'0' * 32}", user="bo")
        assert hidden[0] == missing[0] == 404
        assert hidden[2].replace(run.info.run_id, "RUN") == missing[2].replace("0" * 32, "RUN")

    with acting(server, "ana") as ana:
        assert ana.get_run(run.info.run_id).data.metrics == {"auc": 0.7}
        assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/secret.txt") == "the secret of ana"


def test_knowing_a_digest_opens_no_file(server):
    secret = b"the secret of ana, whose digest is known"
    digest = {"X-Content-SHA256": hashlib.sha256(secret).hexdigest()}
    files = {}
    for user in ("ana", "bo"):
        with acting(server, user) as client:
            experiment = client.create_experiment(f"digests of {user}")
            run = client.create_run(experiment).info.run_id
            files[user] = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/file"
    ana, bo = (("ana", PASSWORDS["ana"]), ("bo", PASSWORDS["bo"]))
    assert requests.put(files["ana"], data=secret, auth=ana, timeout=30).status_code == 200
    assert requests.put(files["bo"], headers=digest, auth=bo, timeout=30).status_code == 404
    assert requests.get(files["bo"], auth=bo, timeout=30).status_code == 404
    assert requests.put(files["bo"], headers=digest, data=secret, auth=bo, timeout=30).status_code == 200
    admin = ("admin", server.admin_password)
    assert requests.put(files["bo"] + "2", headers=digest, auth=admin, timeout=30).status_code == 200


def test_grants_open_just_what_they_say(server):
    with acting(server, "ana") as ana:
        experiment = ana.create_experiment("shared")
        run = ana.create_run(experiment)
        auth = AuthServiceClient(server.url)
        auth.grant_user_permission("bo", "experiment", experiment, "READ")
        assert not auth_allows(server, "bo", experiment, "USE")
    with acting(server, "bo") as bo:
        assert [e.name for e in bo.search_experiments(filter_string="name = 'shared'")] == ["shared"]
        assert bo.get_run(run.info.run_id).info.run_id == run.info.run_id
        with pytest.raises(RestException) as denied:
            bo.log_metric(run.info.run_id, "auc", 1.0)
        assert code_of(denied) == "PERMISSION_DENIED"
        with pytest.raises(RestException) as denied:
            AuthServiceClient(server.url).grant_user_permission("viewer", "experiment", experiment, "READ")
        assert code_of(denied) == "PERMISSION_DENIED"
    with acting(server, "ana"):
        AuthServiceClient(server.url).grant_user_permission("bo", "experiment", experiment, "EDIT")
    with acting(server, "bo") as bo:
        bo.log_metric(run.info.run_id, "auc", 1.0)
        for call in (lambda: bo.delete_experiment(experiment), lambda: bo.delete_run(run.info.run_id)):
            with pytest.raises(RestException) as denied:
                call()
            assert code_of(denied) == "PERMISSION_DENIED", "editing is not deleting"
    with acting(server, "ana"):
        AuthServiceClient(server.url).revoke_user_permission("bo", "experiment", experiment)
    with acting(server, "bo") as bo, pytest.raises(RestException) as unseen:
        bo.get_run(run.info.run_id)
    assert code_of(unseen) == "RESOURCE_DOES_NOT_EXIST"


def auth_allows(server, user, experiment, level) -> bool:
    with acting(server, "admin"):
        found = AuthServiceClient(server.url).get_user_permission(user, "experiment", experiment)
    order = ["NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE"]
    return order.index(found.permission) >= order.index(level)


def test_who_may_read_a_model_may_load_it(server, tmp_path):
    with acting(server, "ana") as ana:
        experiment = ana.create_experiment("where it was trained")
        info = ana.create_run(experiment).info
        run = info.run_id
        ana.log_text(run, "weights", "model/weights.txt")
        ana.log_text(run, "the secret of ana", "notes.txt")
        ana.create_registered_model("loadable")
        ana.create_model_version("loadable", f"{info.artifact_uri}/model", run)  # as mlflow.register_model does
        AuthServiceClient(server.url).grant_user_permission("bo", "registered_model", "loadable", "READ")
    with acting(server, "bo") as bo:
        folder = mlflow.artifacts.download_artifacts("models:/loadable/1", dst_path=str(tmp_path))
        assert (pathlib.Path(folder) / "weights.txt").read_text() == "weights"
        base = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts"
        assert ask(server, "GET", f"{base}/model/weights.txt", user="bo")[0] == 200
        assert ask(server, "GET", f"{base}/notes.txt", user="bo")[0] == 404
        assert ask(server, "GET", f"{base}/model2/weights.txt", user="bo")[0] == 404
        assert ask(server, "PUT", f"{base}/model/weights.txt", user="bo")[0] == 404
        listing = "/api/2.0/mlflow-artifacts/artifacts?path="
        assert ask(server, "GET", f"{listing}{experiment}/{run}/artifacts/model", user="bo")[0] == 200
        assert ask(server, "GET", f"{listing}{experiment}/{run}/artifacts", user="bo")[0] == 404
        with pytest.raises(RestException):
            bo.get_run(run)


def test_who_may_not_create_does_not(server):
    with acting(server, "viewer") as viewer:
        for call in (lambda: viewer.create_experiment("viewer's"), lambda: viewer.create_registered_model("viewer-m")):
            with pytest.raises(RestException) as denied:
                call()
            assert code_of(denied) == "PERMISSION_DENIED"


def test_names_pages_and_counts_of_others_do_not_leak_into_searches(server):
    with acting(server, "bo") as bo:
        for i in range(5):
            bo.create_experiment(f"bo-{i}")
    with acting(server, "ana") as ana:
        for i in range(5):
            ana.create_experiment(f"ana-{i}")
        names, token = [], None
        while True:
            page = ana.search_experiments(filter_string="name LIKE '%-%'", max_results=2, page_token=token)
            assert len(page) == 2 or page.token is None
            names += [e.name for e in page]
            token = page.token
            if not token:
                break
    assert sorted(names) == [f"ana-{i}" for i in range(5)]


def test_tokens_are_scoped_expire_and_end(server):
    home = server.home
    with acting(server, "ana") as ana:
        mine = ana.create_experiment("with a token")
        other = ana.create_experiment("without")
    reading = slipway(home, "tokens", "create", "ana", "--level", "read")
    only = slipway(home, "tokens", "create", "ana", "--only", "experiment/with a token")
    brief = json.loads(slipway(home, "tokens", "create", "ana", "--expires", "1s", "--json"))["token"]
    doomed = json.loads(slipway(home, "tokens", "create", "ana", "--json"))
    wait_until_token_known(server, doomed["token"])
    with acting(server, token=reading) as client:
        assert client.get_experiment(mine).name == "with a token"
        with pytest.raises(RestException) as denied:
            client.create_run(mine)
        assert code_of(denied) == "PERMISSION_DENIED"
    with acting(server, token=only) as client:
        run = client.create_run(mine)
        client.log_metric(run.info.run_id, "auc", 0.5)
        assert client.get_run(run.info.run_id).info.user_id == "ana"
        assert [e.name for e in client.search_experiments()] == ["with a token"]
        with pytest.raises(RestException) as unseen:
            client.get_experiment(other)
        assert code_of(unseen) == "RESOURCE_DOES_NOT_EXIST"
        with pytest.raises(RestException):
            client.create_experiment("not with this token")
    wait_until_refused(server, brief)
    assert "expired" in ask(server, "GET", "/api/2.0/mlflow/experiments/search", token=brief)[2]
    slipway(home, "tokens", "revoke", doomed["id"])
    wait_until_refused(server, doomed["token"])
    listed = {t["id"]: t for t in json.loads(slipway(home, "tokens", "ls", "--all", "--json"))}
    assert listed[doomed["id"]]["state"] == "revoked"
    assert doomed["token"] not in json.dumps(list(listed.values()))


def wait_until_token_known(server, token):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if ask(server, "GET", "/api/2.0/mlflow/users/current", token=token)[0] == 200:
            return
    raise AssertionError("the token is not known to the server")


def wait_until_refused(server, token):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if ask(server, "GET", "/api/2.0/mlflow/experiments/search", token=token)[0] == 401:
            return
    raise AssertionError("the token is taken still")


def test_mlflows_own_client_for_users(server):
    with acting(server, "admin") as client:
        auth = AuthServiceClient(server.url)
        user = auth.create_user("dora", "dora's long secret")
        assert (user.username, user.is_admin) == ("dora", False)
        with pytest.raises(RestException) as taken:
            auth.create_user("dora", "dora's long secret")
        assert code_of(taken) == "RESOURCE_ALREADY_EXISTS"
        with pytest.raises(RestException) as weak:
            auth.create_user("eve", "password1234")
        assert code_of(weak) == "INVALID_PARAMETER_VALUE"
        assert auth.get_user("dora").id == user.id
        auth.update_user_admin("dora", True)
        assert auth.get_user("dora").is_admin
        auth.update_user_admin("dora", False)
        experiment = client.create_experiment("for dora")
        auth.grant_user_permission("dora", "experiment", experiment, "USE")
        assert auth.get_user_permission("dora", "experiment", experiment).permission == "USE"
        assert auth.get_user_permission("dora", "experiment", experiment).allowed
        client.create_registered_model("dora-model")
        auth.grant_user_permission("dora", "registered_model", "dora-model", "MANAGE")
    with acting(server, "dora", "dora's long secret") as dora:
        auth = AuthServiceClient(server.url)
        assert auth.get_user("dora").username == "dora"
        with pytest.raises(RestException) as denied:
            auth.get_user("ana")
        assert code_of(denied) == "PERMISSION_DENIED"
        with pytest.raises(RestException) as denied:
            auth.create_user("frank", "frank's long secret")
        assert code_of(denied) == "PERMISSION_DENIED"
        # The name of a model changes, who may manage it does not.
        dora.rename_registered_model("dora-model", "dora-renamed")
        dora.update_registered_model("dora-renamed", description="still hers")
        dora.delete_registered_model("dora-renamed")
        with pytest.raises(RestException) as current:
            auth.update_user_password("dora", "another long secret")
        assert code_of(current) == "INVALID_PARAMETER_VALUE"
        auth.update_user_password("dora", "another long secret", current_password="dora's long secret")
    with acting(server, "dora", "dora's long secret") as old, pytest.raises(MlflowException):
        old.search_experiments()
    with acting(server, "admin") as client:
        client.create_registered_model("dora-renamed")
    with acting(server, "dora", "another long secret") as dora, pytest.raises(RestException) as unseen:
        dora.get_registered_model("dora-renamed")
    assert code_of(unseen) == "RESOURCE_DOES_NOT_EXIST", "another model of that name is not hers"
    with acting(server, "admin"):
        auth = AuthServiceClient(server.url)
        auth.delete_user("dora")
        with pytest.raises(RestException) as gone:
            auth.get_user("dora")
        assert code_of(gone) == "RESOURCE_DOES_NOT_EXIST"


def test_permissions_as_older_clients_set_them(server):
    with acting(server, "admin") as client:
        experiment = client.create_experiment("old way")
        client.create_registered_model("old-model")
    for noun, field, name, answer in (
        ("experiments", "experiment_id", experiment, "experiment_permission"),
        ("registered-models", "name", "old-model", "registered_model_permission"),
    ):
        base = f"/api/2.0/mlflow/{noun}/permissions"
        body = {field: name, "username": "bo"}
        query = f"{base}/get?{field}={name}&username=bo"
        assert ask(server, "GET", query, user="admin")[0] == 404
        status, _, made = ask(server, "POST", f"{base}/create", {**body, "permission": "READ"}, user="admin")
        assert status == 200 and json.loads(made)[answer]["permission"] == "READ"
        assert ask(server, "POST", f"{base}/create", {**body, "permission": "READ"}, user="admin")[0] == 400
        assert ask(server, "PATCH", f"{base}/update", {**body, "permission": "EDIT"}, user="admin")[0] == 200
        assert json.loads(ask(server, "GET", query, user="admin")[2])[answer]["permission"] == "EDIT"
        assert ask(server, "PATCH", f"{base}/update", {**body, "permission": "ALL"}, user="admin")[0] == 400
        assert ask(server, "DELETE", f"{base}/delete", body, user="bo")[0] == 403
        assert ask(server, "DELETE", f"{base}/delete", body, user="admin")[0] == 200
        assert ask(server, "GET", query, user="admin")[0] == 404


def test_the_audit_log_names_who_did_it_and_no_secret(server):
    with acting(server, "ana") as ana:
        ana.create_registered_model("audited")
        run = ana.create_run(ana.create_experiment("audited"))
        ana.create_model_version("audited", f"runs:/{run.info.run_id}/model")
        ana.set_registered_model_alias("audited", "champion", "1")
    entries = slipway(server.home, "audit", "ls", "--object", "models/audited", "--json", "--limit", "1000")
    assert {e["actor"] for e in json.loads(entries)} == {"ana"}
    everything = slipway(server.home, "audit", "ls", "--json", "--limit", "10000")
    for secret in (*PASSWORDS.values(), server.admin_password, "slw_"):
        assert secret not in everything
        if secret != server.admin_password:
            assert secret not in server.log()
    actions = {e["action"] for e in json.loads(everything)}
    assert {"user.create", "token.create", "token.revoke", "grant.set"} <= actions
    slipway(server.home, "audit", "verify")


def test_can_i_says_which_grant_decides(server):
    home = server.home
    slipway(home, "users", "add", "gus", "--no-password")
    slipway(home, "roles", "add", "scientists")
    slipway(home, "roles", "assign", "scientists", "gus")
    slipway(home, "users", "grant", "role:scientists", "edit", "model/*")
    why = slipway(home, "auth", "can-i", "edit", "model/late", "--user", "gus", "--why")
    assert "role 'scientists'" in why and why.startswith("yes")
    answer = json.loads(slipway(home, "auth", "can-i", "manage", "model/late", "--user", "gus", "--json", expect=7))
    assert not answer["allowed"] and answer["level"] == "edit"
    assert slipway(home, "auth", "can-i", "read", "workspace", "--user", "gus", expect=7) == "no"
    assert slipway(home, "auth", "can-i", "create", "experiment", "--user", "gus").startswith("yes")
    slipway(home, "auth", "can-i", "read", "nonsense/x", "--user", "gus", expect=2)
    slipway(home, "auth", "can-i", "read", "model/x", "--user", "no.one", expect=3)
    slipway(home, "users", "grant", "gus", "read", "experiment/Default")
    grants = json.loads(slipway(home, "users", "grants", "gus", "--json"))
    assert [(g["resource"], g["name"], g["level"]) for g in grants] == [("experiment/0", "Default", "read")]


def test_guessing_is_slowed_down(server):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        guess = lambda i: ask(server, "GET", "/metrics", user="hal", password=f"guess number {i}")[0]  # noqa: E731
        statuses = list(pool.map(guess, range(12)))
    assert statuses[:8] == [401] * 8 and statuses[-1] == 429


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--address", "0.0.0.0"), "--auth"),
        (("--address", "::"), "--auth"),
        (("--address", "0.0.0.0", "--insecure-http"), "--auth"),
        (("--address", "0.0.0.0", "--auth"), "--tls-cert"),
        (("--address", "example.org"), "no address"),
    ],
)
def test_it_does_not_start_where_it_would_be_open(tmp_path, arguments, said):
    command = [str(binary()), "--home", str(tmp_path / "home"), "up", "--port", str(free_port()), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode in (2, 4)
    assert said in result.stderr
    assert not (tmp_path / "home").exists()


def test_it_starts_elsewhere_when_everybody_is_asked(tmp_path):
    arguments = ("--auth", "--address", "0.0.0.0", "--insecure-http", "--open-metrics")
    with SlipwayServer(tmp_path / "home", args=arguments) as elsewhere:
        assert ask(elsewhere, "GET", "/metrics")[0] == 200
        assert ask(elsewhere, "GET", "/api/v1/deployments")[0] == 401


def test_a_second_start_makes_no_second_admin(tmp_path):
    for count in (1, 1):
        with SlipwayServer(tmp_path / "home", args=("--auth",)) as again:
            assert again.log().count("The first user is 'admin'") == count
    users = json.loads(slipway(tmp_path / "home", "users", "ls", "--json"))
    assert [(u["name"], u["admin"]) for u in users if u["admin"]] == [("admin", True)]
    # Open on loopback it warns that there are users whom nobody asks.
    with SlipwayServer(tmp_path / "home") as open_again:
        assert "--auth" in open_again.log()
        assert ask(open_again, "GET", "/api/v1/deployments")[0] == 200


def test_a_pipelines_commands_get_a_token_of_their_own(server, tmp_path):
    script = tmp_path / "step.py"
    script.write_text(
        "import json, os, urllib.request\n"
        "url = os.environ['MLFLOW_TRACKING_URI'] + '/api/2.0/mlflow/users/current'\n"
        "token = os.environ['MLFLOW_TRACKING_TOKEN']\n"
        "request = urllib.request.Request(url, headers={'Authorization': 'Bearer ' + token})\n"
        "user = json.load(urllib.request.urlopen(request))['user']['username']\n"
        f"open({str(tmp_path / 'who')!r}, 'w').write(user + ' ' + token)\n"
    )
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(f"name: who\nsteps:\n  ask:\n    command: {sys.executable} {script}\n")
    status, _, body = ask(server, "POST", "/api/v1/pipelines/runs", {"file": str(pipeline)}, user="ana")
    assert status == 403, "running programs on the server needs manage on the workspace"
    status, _, body = ask(server, "POST", "/api/v1/pipelines/runs", {"file": str(pipeline)}, user="admin")
    assert status == 202, body
    job = json.loads(body)["job"]
    state = "queued"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = json.loads(ask(server, "GET", f"/api/v1/jobs/{job}", user="admin")[2])["state"]
        if state not in ("queued", "running", "leased"):
            break
    assert (tmp_path / "who").exists(), (state, server.log()[-2000:])
    user, token = (tmp_path / "who").read_text().split()
    assert user == "admin"
    wait_until_refused(server, token)


def test_whoever_may_do_everything_is_told_what_a_handler_says(server):
    """The guard hides what is not there from others; to an admin it would only be in the way."""
    history = "/api/2.0/mlflow/metrics/get-history-bulk?run_id=nobody&metric_key=loss"
    assert ask(server, "GET", history, user="admin")[0] == 200
    assert ask(server, "GET", history, user="ana")[0] == 404
    model = {"name": f"from elsewhere {time.time_ns()}"}
    version = {**model, "source": "runs:/0123456789abcdef0123456789abcdef/model"}
    assert ask(server, "POST", "/api/2.0/mlflow/registered-models/create", model, user="admin")[0] == 200
    assert ask(server, "POST", "/api/2.0/mlflow/model-versions/create", version, user="admin")[0] == 200
    status, _, said = ask(server, "POST", "/api/2.0/mlflow/model-versions/create", {**model, "source": "runs:/"}, user="admin")
    assert (status, json.loads(said)["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert ask(server, "POST", "/api/2.0/mlflow/model-versions/create", version, user="bo")[0] == 404
    # A token that is for less than everything is not an admin's here, either.
    token = slipway(server.home, "tokens", "create", "admin", "--level", "read")
    wait_until_token_known(server, token)
    assert ask(server, "POST", "/api/2.0/mlflow/model-versions/create", version, token=token)[0] in (403, 404)


def test_the_default_experiment_says_how_it_is_opened(server):
    with acting(server, "bo") as client:
        with pytest.raises(RestException) as denied:
            client.create_run("0")
        assert code_of(denied) == "PERMISSION_DENIED"
        assert "users grant everyone edit experiment/Default" in str(denied.value)
        with pytest.raises(RestException) as hidden:
            client.create_run("999999")
        assert code_of(hidden) == "RESOURCE_DOES_NOT_EXIST"
