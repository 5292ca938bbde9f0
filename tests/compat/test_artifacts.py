"""The artifact proxy: MLflow's own client with files of all kinds, and HTTP as it should not be."""

import base64
import contextlib
import gzip
import hashlib
import os
import pathlib
import random
import socket
import subprocess
import threading
import time
import unicodedata
import urllib.parse
import uuid

import mlflow
import pytest
import requests
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

from support.slipway_server import SlipwayServer

PROXY = "/api/2.0/mlflow-artifacts/"
SLOW = pytest.mark.skipif(not os.environ.get("SLIPWAY_SLOW_TESTS"), reason="takes minutes: set SLIPWAY_SLOW_TESTS=1")
MIB = 1024 * 1024


@pytest.fixture
def run_id(client):
    experiment = client.create_experiment(f"artifacts {uuid.uuid4().hex}")
    return client.create_run(experiment).info.run_id


def root_of(client, run_id) -> str:
    """The run's folder as the proxy names it: "7/<run>/artifacts"."""
    return client.get_run(run_id).info.artifact_uri.removeprefix("mlflow-artifacts:/")


def address(server, path: str) -> str:
    return server.url + PROXY + "artifacts/" + urllib.parse.quote(path)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blob_of(server, digest: str) -> pathlib.Path:
    return server.home / "blobs" / digest[:2] / digest


def unfinished(server) -> int:
    """Bytes in files that are being written; they go while this looks."""
    size = 0
    for folder, _, names in os.walk(server.home / "blobs/tmp"):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += os.stat(os.path.join(folder, name)).st_size
    return size


def eventually(holds, patience_s: float = 20) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def raw(server, head: str, body: bytes = b"") -> socket.socket:
    """A connection with a request on it, as written."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(head.replace("\n", "\r\n").encode() + body)
    return connection


def as_written(server, method: str, path_and_query: str, body: bytes = b"") -> int:
    """The status of a request whose address no library tidies."""
    head = f"{method} {path_and_query} HTTP/1.1\nHost: localhost\nConnection: close\nContent-Length: {len(body)}\n\n"
    with raw(server, head, body) as connection:
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split()[1])


class TestClient:
    NAMES = [
        "plain.txt",
        "with space.txt",
        "100%.txt",
        "a+b&c=d;e,f.txt",
        "ünïcode-日本語-😀.txt",
        unicodedata.normalize("NFD", "é.txt"),
        ".hidden",
        "~tilde$'(x)!.txt",
        "x" * 200,
    ]

    def test_names_are_kept(self, client, run_id, tmp_path):
        folder = tmp_path / "odd names"
        (folder / "deep er" / "ß").mkdir(parents=True)
        for i, name in enumerate(self.NAMES):
            (folder / "deep er" / "ß" / name).write_text(str(i))
        client.log_artifacts(run_id, str(folder), "in here")
        listed = client.list_artifacts(run_id, "in here/deep er/ß")
        assert sorted(pathlib.PurePosixPath(f.path).name for f in listed) == sorted(self.NAMES)
        got = pathlib.Path(client.download_artifacts(run_id, "in here", str(tmp_path)))
        for i, name in enumerate(self.NAMES):
            assert (got / "deep er" / "ß" / name).read_text() == str(i)

    def test_a_name_with_a_hash(self, client, run_id, server):
        """Kept as it is when its address encodes it. MLflow's client can neither send nor list such a name: it cuts
        the address at '#', and takes a listing with one for an attack."""
        root = root_of(client, run_id)
        for name in ("hash#tag.txt", "hash#other.txt", "question?mark", "semi;colon"):
            assert requests.put(address(server, f"{root}/{name}"), data=name, timeout=30).status_code == 200
        listing = requests.get(server.url + PROXY + "artifacts", params={"path": root}, timeout=30).json()
        assert [f["path"] for f in listing["files"]] == ["hash#other.txt", "hash#tag.txt", "question?mark", "semi;colon"]
        for file in listing["files"]:
            assert requests.get(address(server, f"{root}/{file['path']}"), timeout=30).text == file["path"]

    def test_empty_and_large_files(self, client, run_id, tmp_path):
        (tmp_path / "up").mkdir()
        (tmp_path / "up" / "empty").write_bytes(b"")
        (tmp_path / "up" / "large").write_bytes(noise(70 * MIB))
        client.log_artifacts(run_id, str(tmp_path / "up"))
        (tmp_path / "down").mkdir()
        client.download_artifacts(run_id, "", str(tmp_path / "down"))
        for name in ("empty", "large"):
            assert (tmp_path / "down" / name).read_bytes() == (tmp_path / "up" / name).read_bytes()

    def test_a_file_is_replaced_and_deleted(self, client, run_id, server, tmp_path):
        file = tmp_path / "a.txt"
        for text in ("first", "second"):
            file.write_text(text)
            client.log_artifact(run_id, str(file), "sub")
        assert mlflow.artifacts.load_text(f"runs:/{run_id}/sub/a.txt") == "second"
        repository = MlflowArtifactsRepository(client.get_run(run_id).info.artifact_uri, server.url)
        repository.delete_artifacts("sub/a.txt")
        assert client.list_artifacts(run_id) == []
        with pytest.raises(Exception, match="a.txt"):
            client.download_artifacts(run_id, "sub/a.txt", str(tmp_path))

    def test_a_file_is_no_folder(self, client, run_id, tmp_path):
        file = tmp_path / "a"
        file.write_text("x")
        client.log_artifact(run_id, str(file))
        with pytest.raises(Exception, match="is a file"):
            client.log_artifact(run_id, str(file), "a")

    def test_equal_bytes_are_stored_once(self, client, run_id, server, tmp_path):
        data = noise(3 * MIB, seed=77)
        for name in ("one", "two"):
            (tmp_path / name).write_bytes(data)
            client.log_artifact(run_id, str(tmp_path / name))
        assert blob_of(server, sha256(data)).stat().st_size == len(data)
        assert len(client.list_artifacts(run_id)) == 2

    def test_in_parts(self, client, run_id, server, tmp_path, monkeypatch):
        """MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD and _DOWNLOAD, with parts that come in any order."""
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(MIB))
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 * MIB))
        monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(7 * MIB))
        data = noise(33 * MIB + 12345, seed=3)
        file = tmp_path / "weights #1 ü.bin"
        file.write_bytes(data)
        client.log_artifact(run_id, str(file), "model")
        assert blob_of(server, sha256(data)).exists()
        assert unfinished(server) == 0
        got = requests.get(address(server, root_of(client, run_id) + "/model/weights #1 ü.bin"), timeout=30)
        assert got.content == data

        plain = tmp_path / "weights.bin"
        plain.write_bytes(data)
        client.log_artifact(run_id, str(plain), "other")
        assert [f.path for f in client.list_artifacts(run_id, "other")] == ["other/weights.bin"]
        (tmp_path / "down").mkdir()
        down = client.download_artifacts(run_id, "other/weights.bin", str(tmp_path / "down"))
        assert pathlib.Path(down).read_bytes() == data

    def test_a_part_that_fails_ends_the_upload(self, client, run_id, server, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 * MIB))
        from mlflow.store.artifact import http_artifact_repo as repo

        def cut(credential, local_file, size, start_byte):
            if credential.part_number == 2:
                raise OSError("the line was cut")
            return whole(credential, local_file, size, start_byte)

        whole = repo.HttpArtifactRepository._upload_part
        monkeypatch.setattr(repo.HttpArtifactRepository, "_upload_part", staticmethod(cut))
        file = tmp_path / "x.bin"
        file.write_bytes(noise(12 * MIB))
        with pytest.raises(Exception, match="Failed to upload"):
            client.log_artifact(run_id, str(file))
        assert client.list_artifacts(run_id) == []
        assert unfinished(server) == 0


def test_the_server_says_what_it_offers(server):
    for prefix in ("api", "ajax-api"):
        info = requests.get(f"{server.url}/{prefix}/3.0/mlflow/server-info", timeout=30).json()
        assert info["store_type"] == "SqlStore"
        assert info["multipart_uploads_enabled"] is False  # only for callers who ask for it


class TestAttachments:
    """What MLflow's pages fetch."""

    def test_of_a_run(self, client, run_id, server, tmp_path):
        (tmp_path / "naïve \"x\".html").write_text("<script>alert(1)</script>")
        client.log_artifact(run_id, str(tmp_path / "naïve \"x\".html"), "sub")
        for name in ("run_id", "run_uuid"):
            answer = requests.get(
                f"{server.url}/get-artifact", params={name: run_id, "path": "sub/naïve \"x\".html"}, timeout=30
            )
            assert answer.text == "<script>alert(1)</script>"
            assert answer.headers["Content-Disposition"] == (
                "attachment; filename=\"na__ve _x_.html\"; filename*=UTF-8''na%C3%AFve%20%22x%22.html"
            )
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Type"] == "application/octet-stream"

    def test_of_a_model_version_and_a_logged_model(self, client, run_id, server, tmp_path):
        folder = tmp_path / "m"
        (folder / "data").mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}\n")
        (folder / "data" / "w").write_bytes(b"w")
        client.log_artifacts(run_id, str(folder), "model")
        name = f"model {uuid.uuid4().hex}"
        client.create_registered_model(name)
        version = client.create_model_version(name, client.get_run(run_id).info.artifact_uri + "/model", run_id)
        answer = requests.get(
            f"{server.url}/model-versions/get-artifact",
            params={"name": name, "version": version.version, "path": "MLmodel"},
            timeout=30,
        )
        assert (answer.status_code, answer.text) == (200, "flavors: {}\n")

        experiment = client.get_run(run_id).info.experiment_id
        model = client.create_logged_model(experiment, name="m", source_run_id=run_id)
        client.log_model_artifacts(model.model_id, str(folder))
        base = f"{server.url}/ajax-api/2.0/mlflow/logged-models/{model.model_id}/artifacts"
        listing = requests.get(base + "/directories", timeout=30).json()
        assert listing["root_uri"] == model.artifact_location
        assert listing["files"] == [
            {"path": "MLmodel", "is_dir": False, "file_size": 12},
            {"path": "data", "is_dir": True},
        ]
        below = requests.get(base + "/directories", params={"artifact_directory_path": "data"}, timeout=30).json()
        assert below["files"] == [{"path": "data/w", "is_dir": False, "file_size": 1}]
        file = requests.get(base + "/files", params={"artifact_file_path": "data/w"}, timeout=30)
        assert file.content == b"w"
        assert [f.path for f in client.list_logged_model_artifacts(model.model_id)] == ["MLmodel", "data"]


class TestHttp:
    @pytest.fixture
    def stored(self, client, run_id, server):
        data = noise(600_000, seed=5)
        url = address(server, root_of(client, run_id) + "/x.bin")
        answer = requests.put(url, data=data, timeout=30)
        assert answer.status_code == 200
        assert answer.headers["ETag"] == f'"{sha256(data)}"'
        return url, data

    def test_ranges_and_conditions(self, stored):
        url, data = stored
        tag = f'"{sha256(data)}"'
        rows = [
            ({}, 200, data),
            ({"Range": "bytes=10-19"}, 206, data[10:20]),
            ({"Range": "bytes=-5"}, 206, data[-5:]),
            ({"Range": "bytes=500000-"}, 206, data[500000:]),
            ({"Range": "bytes=600000-"}, 416, b""),
            ({"Range": "bytes=0-9", "If-Range": tag}, 206, data[:10]),
            ({"Range": "bytes=0-9", "If-Range": '"other"'}, 200, data),
            ({"If-None-Match": tag}, 304, b""),
            ({"If-Match": '"other"'}, 412, b""),
        ]
        for headers, status, body in rows:
            answer = requests.get(url, headers={**headers, "Accept-Encoding": "identity"}, timeout=30)
            assert (answer.status_code, answer.content) == (status, body), headers
        head = requests.head(url, timeout=30)
        assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "600000", b"")

    def test_an_interrupted_download_goes_on(self, stored):
        url, data = stored
        with requests.get(url, stream=True, timeout=30) as half:
            got = half.raw.read(200_000)
        rest = requests.get(
            url, headers={"Range": f"bytes={len(got)}-", "If-Range": half.headers["ETag"]}, timeout=30
        )
        assert rest.status_code == 206
        assert got + rest.content == data

    def test_bytes_that_are_here_need_not_be_sent(self, stored, client, run_id, server):
        _, data = stored
        base = root_of(client, run_id)
        again = requests.put(address(server, base + "/again"), headers={"X-Content-SHA256": sha256(data)}, timeout=30)
        assert again.status_code == 200
        assert requests.get(address(server, base + "/again"), timeout=30).content == data
        other = noise(1000, seed=6)
        asked = requests.put(address(server, base + "/other"), headers={"X-Content-SHA256": sha256(other)}, timeout=30)
        assert asked.status_code == 404
        digest = base64.b64encode(hashlib.sha256(other).digest()).decode()
        sent = requests.put(
            address(server, base + "/other"), headers={"Repr-Digest": f"sha-256=:{digest}:"}, data=other, timeout=30
        )
        assert sent.status_code == 200
        # With Expect: 100-continue nothing is sent at all.
        head = (
            f"PUT {PROXY}artifacts/{base}/third HTTP/1.1\nHost: localhost\nExpect: 100-continue\n"
            f"X-Content-SHA256: {sha256(data)}\nContent-Length: {len(data)}\n\n"
        )
        with raw(server, head) as connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert requests.get(address(server, base + "/third"), timeout=30).content == data

    def test_a_wrong_or_unsound_digest_stores_nothing(self, client, run_id, server):
        url = address(server, root_of(client, run_id) + "/wrong")
        data = noise(5000, seed=8)
        answer = requests.put(url, data=data, headers={"X-Content-SHA256": sha256(b"other")}, timeout=30)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert requests.put(url, data=data, headers={"X-Content-SHA256": "abc"}, timeout=30).status_code == 400
        assert requests.put(url, data=data, headers={"Repr-Digest": "sha-256=:x:"}, timeout=30).status_code == 400
        assert requests.get(url, timeout=30).status_code == 404
        assert not blob_of(server, sha256(data)).exists()

    def test_chunked_and_packed_bodies(self, client, run_id, server):
        url = address(server, root_of(client, run_id) + "/chunked")
        data = noise(2_500_000, seed=9)
        pieces = (data[i : i + 99_991] for i in range(0, len(data), 99_991))
        assert requests.put(url, data=pieces, timeout=30).status_code == 200
        assert requests.get(url, timeout=30).content == data
        packed = requests.put(url, data=gzip.compress(b"x"), headers={"Content-Encoding": "gzip"}, timeout=30)
        assert packed.status_code == 415
        assert requests.get(url, timeout=30).content == data
        # The JSON calls take gzip, up to a limit.
        search = server.url + "/api/2.0/mlflow/experiments/search"
        body = gzip.compress(b'{"max_results": 1}')
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        assert requests.post(search, data=body, headers=headers, timeout=30).status_code == 200
        bomb = gzip.compress(b'{"filter": "' + b" " * (100 * MIB) + b'"}')
        assert requests.post(search, data=bomb, headers=headers, timeout=30).status_code == 413

    def test_a_body_over_the_limit_is_refused_unread(self, client, run_id, server):
        target = f"{PROXY}artifacts/{root_of(client, run_id)}/huge"
        for length, status in ((6 << 40, 413), (1 << 42, 507)):  # over the limit; over what the disk holds
            head = f"PUT {target} HTTP/1.1\nHost: localhost\nExpect: 100-continue\nContent-Length: {length}\n\n"
            with raw(server, head) as connection:
                assert int(connection.recv(65536).split()[1]) == status
        assert unfinished(server) == 0

    def test_links_hold_for_what_they_name(self, stored, client, run_id, server):
        url, data = stored
        presigned = url.replace("/mlflow-artifacts/artifacts/", "/mlflow-artifacts/presigned/")
        link = requests.get(presigned, timeout=30).json()
        assert link["file_size"] == len(data)
        assert requests.get(link["url"], timeout=30).content == data
        assert requests.get(link["url"][:-1], timeout=30).status_code == 403
        assert requests.get(link["url"].split("?")[0], timeout=30).status_code == 403
        assert requests.get(link["url"].replace("x.bin", "y.bin"), timeout=30).status_code == 403
        assert requests.get(link["url"].replace("expires=1", "expires=2"), timeout=30).status_code == 403

    def test_calls_of_uploads_in_parts(self, client, run_id, server):
        base = root_of(client, run_id)

        def call(what, **body):
            return requests.post(f"{server.url}{PROXY}mpu/{what}/{base}", json=body, timeout=30)

        made = call("create", path="C:\\data\\a.bin", num_parts=2).json()
        urls = [credential["url"] for credential in made["credentials"]]
        assert len(urls) == 2
        tags = [requests.put(url, data=bytes([i]) * 10, timeout=30).headers["ETag"] for i, url in enumerate(urls)]
        parts = [{"part_number": i + 1, "etag": tag, "url": urls[i]} for i, tag in enumerate(tags)]
        done = {"path": "a.bin", "upload_id": made["upload_id"]}
        assert call("complete", **done, parts=parts[:1]).status_code == 400
        assert call("complete", **{**done, "path": "b.bin"}, parts=parts).status_code == 400
        assert call("complete", **{**done, "upload_id": "nobody"}, parts=parts).status_code == 404
        assert call("complete", **done, parts=parts).status_code == 200
        assert requests.get(address(server, base + "/a.bin"), timeout=30).content == bytes(10) + b"\1" * 10
        assert requests.put(urls[0], data=b"late", timeout=30).status_code == 404
        assert call("create", path="a.bin", num_parts=0).status_code == 400
        assert call("create", path="a.bin", num_parts=10_001).status_code == 400
        assert call("create", path="a/..", num_parts=1).status_code == 400
        assert call("create", num_parts=1).status_code == 400
        aborted = call("create", path="c.bin", num_parts=2).json()
        requests.put(aborted["credentials"][1]["url"], data=b"x" * 1000, timeout=30)
        assert unfinished(server) > 0
        assert call("abort", path="c.bin", upload_id=aborted["upload_id"]).status_code == 200
        assert unfinished(server) == 0


class TestPathsThatClimb:
    PATHS = [
        "../x", "..", "a/../../x", "%2e%2e/x", "%2E%2E%2Fx", "..%2fx", "..%5cx", "a%5C..%5Cx", "a\\..\\x",
        "%252e%252e/x", "%252e%252e%252fx", "%c0%ae%c0%ae/x", "%e0%80%ae%e0%80%ae/x", "..%00/x", "a%00b", "./x",
        "%2e/x", "a/./b", "%ff%fe", "..;/x%00", "a%0d%0ab", "%uff0e%uff0e/x",
    ]  # fmt: skip

    @pytest.mark.parametrize("path", PATHS)
    def test_are_refused_everywhere(self, server, path):
        before = sorted(str(p) for p in server.home.parent.glob("*"))
        for prefix in (PROXY, PROXY.replace("/api/", "/ajax-api/")):
            for method in ("GET", "PUT", "DELETE", "HEAD"):
                assert 400 <= as_written(server, method, f"{prefix}artifacts/{path}", b"x") < 500, (method, path)
            assert 400 <= as_written(server, "GET", f"{prefix}presigned/{path}") < 500
            body = b'{"path": "a", "num_parts": 1, "upload_id": "u", "parts": []}'
            for call in ("create", "complete", "abort"):
                assert 400 <= as_written(server, "POST", f"{prefix}mpu/{call}/{path}", body) < 500
        assert 400 <= as_written(server, "GET", f"{PROXY}signed/{path}?expires=1&signature=x") < 500
        assert sorted(str(p) for p in server.home.parent.glob("*")) == before

    @pytest.mark.parametrize("path", ["../x", "..", "a/../../x", "/etc/passwd", "a\\..\\x", "a\0b", "./x", "a//b", "%2e%2e/x"])
    def test_are_refused_as_parameters(self, client, run_id, server, path):
        def get(where, **params):
            return requests.get(server.url + where, params=params, timeout=30).status_code

        assert get("/get-artifact", run_id=run_id, path=path) == 400
        assert get(PROXY + "artifacts", path=path) == 400
        assert get("/api/2.0/mlflow/artifacts/list", run_id=run_id, path=path) == 400
        model = client.create_logged_model(client.get_run(run_id).info.experiment_id)
        base = f"/api/2.0/mlflow/logged-models/{model.model_id}/artifacts/"
        assert get(base + "directories", artifact_directory_path=path) == 400
        assert get(base + "files", artifact_file_path=path) == 400


class TestFaults:
    def test_nothing_is_left_of_a_caller_that_vanishes(self, client, run_id, server):
        target = f"{PROXY}artifacts/{root_of(client, run_id)}/half"
        connections = [
            raw(server, f"PUT {target}{i} HTTP/1.1\nHost: localhost\nContent-Length: 10000000\n\n", noise(3_000_000, i))
            for i in range(8)
        ]
        eventually(lambda: unfinished(server) > 0)
        for connection in connections:
            connection.close()
        eventually(lambda: unfinished(server) == 0)
        assert client.list_artifacts(run_id) == []

    def test_a_slow_caller_is_served_and_holds_nobody_up(self, client, run_id, server):
        base = root_of(client, run_id)
        data = noise(40_000, seed=11)
        head = f"PUT {PROXY}artifacts/{base}/slow HTTP/1.1\nHost: localhost\nContent-Length: {len(data)}\n\n"
        connections = [raw(server, head) for _ in range(20)]
        for at in range(0, len(data), 10_000):
            for connection in connections:
                connection.sendall(data[at : at + 10_000])
            begun = time.monotonic()
            assert requests.put(address(server, f"{base}/quick{at}"), data=b"x", timeout=30).status_code == 200
            assert time.monotonic() - begun < 5
        for connection in connections:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            connection.close()
        assert requests.get(address(server, f"{base}/slow"), timeout=30).content == data

    @pytest.mark.parametrize("size", [1000, 3_000_000])
    def test_damaged_bytes_never_look_whole(self, client, run_id, server, size):
        url = address(server, root_of(client, run_id) + "/damaged")
        data = noise(size, seed=size)
        requests.put(url, data=data, timeout=30)
        blob = blob_of(server, sha256(data))
        blob.chmod(0o600)
        with open(blob, "r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte[0] ^ 1]))
        try:
            answer = requests.get(url, timeout=30)
            assert answer.status_code == 500
            assert answer.json()["error_code"] == "DATA_LOSS"
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError):
            assert size > 1000  # cut off in the middle: the client sees that this is not all
        part = requests.get(url, headers={"Range": "bytes=0-9"}, timeout=30)
        assert part.status_code == 500
        assert sha256(data) in server.log()
        # The right bytes once more, and all is well.
        assert requests.put(url, data=data, timeout=30).status_code == 200
        assert requests.get(url, timeout=30).content == data

    def test_a_missing_blob_is_an_error_for_its_own_file_only(self, client, run_id, server):
        base = root_of(client, run_id)
        data = noise(2000, seed=21)
        requests.put(address(server, base + "/gone"), data=data, timeout=30)
        requests.put(address(server, base + "/here"), data=b"here", timeout=30)
        blob_of(server, sha256(data)).unlink()
        assert requests.get(address(server, base + "/gone"), timeout=30).status_code in (404, 500)
        assert requests.get(address(server, base + "/here"), timeout=30).content == b"here"

    def test_many_callers_at_once(self, client, run_id, server):
        base = root_of(client, run_id)
        wrong = []

        def work(number):
            session = requests.Session()
            for i in range(5):
                data = noise(random.Random(number * 100 + i).randrange(1, 900_000), seed=number * 100 + i)
                url = address(server, f"{base}/{number}/{i}")
                if session.put(url, data=data, timeout=60).status_code != 200:
                    wrong.append((number, i, "put"))
                if session.get(url, timeout=60).content != data:
                    wrong.append((number, i, "get"))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert unfinished(server) == 0

    def test_a_kill_loses_nothing_acknowledged_and_leaves_no_half(self, tmp_path):
        """kill -9 under uploads, five times: what was answered is there, what was not is whole or not there."""
        server = SlipwayServer(tmp_path / "home")
        acknowledged = {}
        started = {}

        def work(round_number, number, stop):
            session = requests.Session()
            for i in range(1000):
                if stop.is_set():
                    return
                name = f"0/kill/{round_number}/{number}/{i}"
                data = noise(random.Random(name).randrange(1, 700_000), seed=hash((round_number, number, i)))
                started[name] = sha256(data)
                try:
                    if session.put(address(server, name), data=data, timeout=30).status_code == 200:
                        acknowledged[name] = started[name]
                except requests.exceptions.RequestException:
                    return

        for round_number in range(5):
            server.start()
            stop = threading.Event()
            threads = [threading.Thread(target=work, args=(round_number, n, stop)) for n in range(6)]
            for thread in threads:
                thread.start()
            time.sleep(0.4 + random.Random(round_number).random())
            server.kill()
            stop.set()
            for thread in threads:
                thread.join()
        with server:
            assert unfinished(server) == 0
            assert acknowledged
            for name, digest in started.items():
                answer = requests.get(address(server, name), timeout=30)
                if answer.status_code == 404:
                    assert name not in acknowledged
                else:
                    assert (answer.status_code, sha256(answer.content)) == (200, digest)

    def test_a_full_disk(self, tmp_path):
        """507, the room given back, reads go on, and space heals it."""
        small = tmp_path / "small"
        small.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small], capture_output=True).returncode != 0:
            pytest.skip("mounting a tmpfs needs root")
        try:
            with SlipwayServer(small / "home") as server:
                url = lambda name: address(server, "0/run/artifacts/" + name)
                kept = noise(2 * MIB, seed=31)
                assert requests.put(url("kept"), data=kept, timeout=30).status_code == 200
                known = requests.put(url("large"), data=noise(40 * MIB, seed=32), timeout=30)
                assert known.status_code == 507  # by its length, before it is taken
                pieces = (noise(MIB, seed=i) for i in range(40))
                try:
                    assert requests.put(url("large"), data=pieces, timeout=30).status_code == 507
                except requests.exceptions.ConnectionError:
                    pass  # the client was still sending
                eventually(lambda: unfinished(server) == 0)
                assert requests.get(url("kept"), timeout=30).content == kept
                assert requests.get(url("large"), timeout=30).status_code == 404
                subprocess.run(["mount", "-o", "remount,size=80m", small], check=True)
                after = noise(30 * MIB, seed=33)
                assert requests.put(url("large"), data=after, timeout=30).status_code == 200
                assert requests.get(url("large"), timeout=30).content == after
        finally:
            subprocess.run(["umount", "-l", small], check=False)

    @SLOW
    def test_memory_stays_flat(self, server):
        """2 GiB up, down and up in parts: the server's memory grows by some pieces only."""

        def peak_mib() -> float:
            status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
            return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024

        pathlib.Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak from now on
        before = peak_mib()
        block = noise(4 * MIB, seed=41)
        blocks = 512
        whole = hashlib.sha256()
        for _ in range(blocks):
            whole.update(block)
        url = address(server, "0/large/artifacts/x")
        assert requests.put(url, data=(block for _ in range(blocks)), timeout=600).status_code == 200
        got = hashlib.sha256()
        with requests.get(url, stream=True, timeout=600) as answer:
            for chunk in answer.iter_content(MIB):
                got.update(chunk)
        assert got.hexdigest() == whole.hexdigest() == answer.headers["ETag"].strip('"')
        assert peak_mib() - before < 32
