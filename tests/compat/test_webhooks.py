"""Webhooks through MLflow's real client, against a receiver that checks signatures, fails, hangs up, and dies."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import socket
import subprocess
import threading
import time
import uuid

import mlflow
import pytest
import requests
from mlflow.entities.webhook import WebhookStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from support.slipway_server import SlipwayServer, binary, free_port

SECRET = "a secret worth keeping"
ALL = [
    "registered_model.created",
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
    "prompt.created",
    "prompt_version.created",
    "prompt_tag.set",
    "prompt_tag.deleted",
    "prompt_version_tag.set",
    "prompt_version_tag.deleted",
    "prompt_alias.created",
    "prompt_alias.deleted",
]


class Receiver:
    """An HTTP server that keeps what it hears; `statuses` are its next answers, then 200. None: hangs up instead."""

    def __init__(self, port: int | None = None):
        self.port = port or free_port()
        self.heard: list[tuple[dict, bytes]] = []
        self.statuses: list[int | None] = []
        self.changed = threading.Condition()
        self._server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def start(self) -> "Receiver":
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with receiver.changed:
                    status = receiver.statuses.pop(0) if receiver.statuses else 200
                    receiver.heard.append(({k.lower(): v for k, v in self.headers.items()}, body))
                    receiver.changed.notify_all()
                if status is not None:
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.end_headers()
                self.close_connection = True

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def kill(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, count: int, patience_s: float = 20) -> list[dict]:
        """The bodies, once there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.heard) >= count, patience_s), self.heard
            return [json.loads(body) for _, body in self.heard]

    def ids(self) -> list[str]:
        return [headers["x-mlflow-delivery-id"] for headers, _ in self.heard]


def is_signed(headers: dict, body: bytes, secret: str = SECRET) -> bool:
    text = f"{headers['x-mlflow-delivery-id']}.{headers['x-mlflow-timestamp']}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(wanted, headers["x-mlflow-signature"])


@pytest.fixture()
def receiver():
    running = Receiver().start()
    yield running
    running.kill()


@pytest.fixture()
def hooked(tmp_path):
    """A server of the test's own that may call this machine."""
    with SlipwayServer(tmp_path / "home", args=("--allow-webhook", "localhost")) as running:
        mlflow.set_tracking_uri(running.url)
        mlflow.set_registry_uri(running.url)
        yield running


@pytest.fixture()
def client(hooked):
    return MlflowClient(hooked.url, hooked.url)


def slipway(server, *words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [binary(), "webhooks", *words, "--home", server.home], capture_output=True, text=True, timeout=60
    )


def deliveries(server, **query) -> list[dict]:
    answer = requests.get(f"{server.url}/api/v1/webhooks/deliveries", params={"limit": 1000, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"][::-1]  # oldest first


def wait_until(condition, patience_s: float = 20):
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


class TestCalls:
    def test_create_get_list_update_delete(self, hooked, client):
        made = client.create_webhook(
            "deploy-bot",
            "https://localhost/hook",
            ["model_version.created", "model_version_alias.created"],
            description="tells the deployer",
            secret=SECRET,
        )
        assert (made.name, made.status, made.description) == ("deploy-bot", "ACTIVE", "tells the deployer")
        found = client.get_webhook(made.webhook_id)
        assert [str(e) for e in found.events] == ["model_version.created", "model_version_alias.created"]
        assert found.secret is None
        assert [w.webhook_id for w in client.list_webhooks()] == [made.webhook_id]
        changed = client.update_webhook(
            made.webhook_id, name="bot", status=WebhookStatus.DISABLED, events=["prompt.created"]
        )
        assert (changed.name, changed.status) == ("bot", "DISABLED")
        assert changed.description == "tells the deployer"
        assert [str(e) for e in changed.events] == ["prompt.created"]
        client.delete_webhook(made.webhook_id)
        assert list(client.list_webhooks()) == []
        with pytest.raises(MlflowException, match="not found"):
            client.get_webhook(made.webhook_id)

    def test_the_secret_is_nowhere_to_be_read(self, hooked, client):
        client.create_webhook("bot", "https://localhost/", ["prompt.created"], secret=SECRET)
        assert SECRET not in requests.get(f"{hooked.url}/api/2.0/mlflow/webhooks").text
        assert SECRET not in requests.get(f"{hooked.url}/api/v1/audit", params={"limit": 1000}).text
        assert SECRET not in slipway(hooked, "ls", "--json").stdout
        for file in hooked.home.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # the server at work
                assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"name": "Capital"}, "INVALID_PARAMETER_VALUE"),
            ({"name": "taken"}, "RESOURCE_ALREADY_EXISTS"),
            ({"url": "ftp://localhost/"}, "INVALID_PARAMETER_VALUE"),
            ({"url": "not a url"}, "INVALID_PARAMETER_VALUE"),
            ({"url": "https://10.0.0.1/"}, "PERMISSION_DENIED"),
            ({"url": "https://169.254.169.254/latest"}, "PERMISSION_DENIED"),
            ({"events": []}, "INVALID_PARAMETER_VALUE"),
            ({"events": [{"entity": "MODEL_VERSION", "action": "DELETED"}]}, "INVALID_PARAMETER_VALUE"),
            ({"status": "SLEEPING"}, "INVALID_PARAMETER_VALUE"),
        ],
    )
    def test_refused(self, hooked, client, change, code):
        client.create_webhook("taken", "https://localhost/", ["prompt.created"])
        body = {
            "name": "new",
            "url": "https://localhost/",
            "events": [{"entity": "PROMPT", "action": "CREATED"}],
            **change,
        }
        answer = requests.post(f"{hooked.url}/api/2.0/mlflow/webhooks", json=body)
        assert answer.json()["error_code"] == code

    def test_without_a_list_only_public_hosts_by_https(self, server):
        client = MlflowClient(server.url, server.url)
        name = f"w{uuid.uuid4().hex[:10]}"
        for url in ("http://example.org/", "https://127.0.0.1/", "https://[::1]/", "https://192.168.1.1/"):
            with pytest.raises(MlflowException):
                client.create_webhook(name, url, ["prompt.created"])
        client.delete_webhook(client.create_webhook(name, "https://example.org/", ["prompt.created"]).webhook_id)

    def test_trial(self, hooked, client, receiver):
        receiver.statuses = [503, 200]
        made = client.create_webhook("bot", receiver.url, ALL, secret=SECRET)
        failed = client.test_webhook(made.webhook_id)
        assert (failed.success, failed.response_status) == (False, 503)
        good = client.test_webhook(made.webhook_id, "prompt_alias.created")
        assert (good.success, good.response_status) == (True, 200)
        assert receiver.wait_for(2)[1]["data"].keys() == {"name", "alias", "version"}
        assert all(is_signed(*heard) for heard in receiver.heard)
        receiver.kill()
        assert client.test_webhook(made.webhook_id).error_message
        receiver.start()


class TestDelivery:
    def test_every_event_arrives_signed_in_order(self, hooked, client, receiver):
        client.create_webhook("bot", receiver.url, ALL, secret=SECRET)
        client.create_registered_model("m", tags={"a": "b"}, description="d")
        client.create_model_version("m", "runs:/r/model", "r", tags={"c": "d"}, description="v")
        client.set_model_version_tag("m", "1", "k", "v")
        client.delete_model_version_tag("m", "1", "k")
        client.set_registered_model_alias("m", "champion", "1")
        client.set_registered_model_alias("m", "champion", "1")  # no move, no message
        client.delete_registered_model_alias("m", "champion")
        mlflow.genai.register_prompt("p", "Say {{word}}", commit_message="first", tags={"x": "y"})
        client.set_prompt_tag("p", "k", "v")
        client.delete_prompt_tag("p", "k")
        client.set_prompt_version_tag("p", 1, "k", "v")
        client.delete_prompt_version_tag("p", 1, "k")
        client.set_prompt_alias("p", "production", 1)
        client.delete_prompt_alias("p", "production")

        def names():
            return [f"{b['entity']}.{b['action']}" for b in map(json.loads, (body for _, body in receiver.heard))]

        wait_until(lambda: "prompt_alias.deleted" in names())
        # The client puts more tags on prompts by itself.
        plain = [n for n in names() if not n.startswith("prompt_tag") and not n.startswith("prompt_version_tag")]
        assert plain == [n for n in ALL if not n.startswith("prompt_tag") and not n.startswith("prompt_version_tag")]
        assert set(names()) == set(ALL)
        assert all(is_signed(*heard) for heard in receiver.heard)
        assert not any(is_signed(*heard, secret="another") for heard in receiver.heard)
        data = {n: json.loads(body)["data"] for n, (_, body) in zip(names(), receiver.heard)}
        assert data["registered_model.created"] == {"name": "m", "tags": {"a": "b"}, "description": "d"}
        assert data["model_version.created"] == {
            "name": "m", "version": "1", "source": "runs:/r/model", "run_id": "r", "tags": {"c": "d"},
            "description": "v",
        }
        assert data["model_version_tag.set"] == {"name": "m", "version": "1", "key": "k", "value": "v"}
        assert data["model_version_alias.created"] == {"name": "m", "alias": "champion", "version": "1"}
        assert data["prompt_version.created"]["template"] == "Say {{word}}"
        assert len(set(receiver.ids())) == len(receiver.heard)

    def test_failures_are_retried_in_order_with_the_same_id(self, hooked, client, receiver):
        receiver.statuses = [500, None, 429]
        client.create_webhook("bot", receiver.url, ["registered_model.created"], secret=SECRET)
        for name in "abc":
            client.create_registered_model(name)
        bodies = receiver.wait_for(6, patience_s=30)
        assert [b["data"]["name"] for b in bodies] == ["a", "a", "a", "a", "b", "c"]
        assert len(set(receiver.ids()[:4])) == 1
        assert len(set(receiver.ids())) == 3

    def test_a_receiver_that_dies_loses_nothing(self, hooked, client, receiver):
        client.create_webhook("bot", receiver.url, ["registered_model.created"], secret=SECRET)
        client.create_registered_model("before")
        receiver.wait_for(1)
        receiver.kill()
        for i in range(5):
            client.create_registered_model(f"while down {i}")
        wait_until(lambda: any(d["attempts"] > 0 for d in deliveries(hooked, state="pending")))
        # And the server is killed, too.
        hooked.kill()
        hooked.start()
        receiver.start()
        bodies = receiver.wait_for(6, patience_s=30)
        assert [b["data"]["name"] for b in bodies] == ["before", *(f"while down {i}" for i in range(5))]
        assert all(is_signed(*heard) for heard in receiver.heard)
        wait_until(lambda: deliveries(hooked, state="pending") == [])

    def test_dead_letters_are_listed_and_replayed(self, hooked, client, receiver):
        receiver.statuses = [422, 200, 400]
        client.create_webhook("bot", receiver.url, ["registered_model.created"], secret=SECRET)
        for name in "abc":
            client.create_registered_model(name)
        receiver.wait_for(3)
        dead = wait_until(lambda: len(found := deliveries(hooked, state="dead")) == 2 and found)
        assert [("422" in d["last_error"], "400" in d["last_error"]) for d in dead] == [(True, False), (False, True)]
        printed = json.loads(slipway(hooked, "dead", "--json").stdout)
        assert [d["id"] for d in printed[::-1]] == [d["id"] for d in dead]

        again = slipway(hooked, "replay", "bot", "--dead", "--json")
        assert json.loads(again.stdout) == {"messages": 2}
        bodies = receiver.wait_for(5)
        assert [b["data"]["name"] for b in bodies[3:]] == ["a", "c"]
        assert receiver.ids()[3] == receiver.ids()[0]
        wait_until(lambda: deliveries(hooked, state="dead") == [] and deliveries(hooked, state="pending") == [])

        second = deliveries(hooked)[1]["event"]
        answer = requests.post(f"{hooked.url}/api/v1/webhooks/bot/replay", json={"from_event": second})
        assert answer.json() == {"messages": 2}
        assert [b["data"]["name"] for b in receiver.wait_for(7)[5:]] == ["b", "c"]
        audit = requests.get(f"{hooked.url}/api/v1/audit", params={"action": "webhook.replay"}).json()["entries"]
        assert [e["object"] for e in audit] == ["webhooks/bot", "webhooks/bot"]
        assert slipway(hooked, "replay", "bot").returncode == 2
        assert slipway(hooked, "replay", "nobody", "--dead").returncode == 3

    def test_a_disabled_webhook_hears_nothing(self, hooked, client, receiver):
        made = client.create_webhook("bot", receiver.url, ["registered_model.created"], status="DISABLED")
        client.create_registered_model("a")
        client.update_webhook(made.webhook_id, status="ACTIVE")
        client.create_registered_model("b")
        assert [b["data"]["name"] for b in receiver.wait_for(1)] == ["b"]

    def test_a_receiver_that_hangs_does_not_hold_up_others(self, hooked, client, receiver):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            client.create_webhook("silent", f"http://127.0.0.1:{silent.getsockname()[1]}/", ["registered_model.created"])
            client.create_webhook("bot", receiver.url, ["registered_model.created"])
            client.create_registered_model("a")
            receiver.wait_for(1, patience_s=5)
