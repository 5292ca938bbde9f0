"""Artifacts in S3: a real server on loopback, and one that answers 503, hangs and breaks off."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils as client_utils

from support.s3_server import BUCKET, FaultyProxy, S3Server
from support.slipway_server import SlipwayServer, binary


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("s3") / "data") as server:
        old = {name: os.environ.get(name) for name in server.environment}
        os.environ.update(server.environment)
        yield server
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def client_of(server) -> MlflowClient:
    client_utils._artifact_repos_cache.clear()  # it goes by run, and servers come back on other ports
    return MlflowClient(server.url)


def up(home, url):
    return SlipwayServer(home, args=("--artifacts", url))


def blob(home, content: bytes) -> pathlib.Path:
    digest = hashlib.sha256(content).hexdigest()
    return pathlib.Path(home) / "blobs" / digest[:2] / digest


def put(client, run, content: bytes, tmp_path, name="a.bin"):
    file = tmp_path / name
    file.write_bytes(content)
    client.log_artifact(run, str(file))


def got(client, run, tmp_path, name="a.bin") -> bytes:
    folder = tmp_path / f"down-{time.monotonic_ns()}"
    folder.mkdir()
    return pathlib.Path(client.download_artifacts(run, name, str(folder))).read_bytes()


def test_artifacts_live_in_the_bucket_and_the_folder_is_a_cache(s3, tmp_path):
    home = tmp_path / "home"
    content = os.urandom(12_000_000)  # more than one part
    with up(home, s3.url("plain")) as server:
        client = client_of(server)
        run = client.create_run("0").info.run_id
        put(client, run, content, tmp_path)
        client.log_text(run, "", "empty.txt")
        client.log_text(run, "small", "deep/er/small.txt")
        shutil.rmtree(home / "blobs" / blob(home, content).parent.name)
        assert got(client, run, tmp_path) == content
        assert blob(home, content).exists()
    # The home remembers, and another home on another machine would see the same.
    for folder in (home / "blobs").glob("??"):
        shutil.rmtree(folder)
    with SlipwayServer(home) as server:
        client = client_of(server)
        assert got(client, run, tmp_path, "deep/er/small.txt") == b"small"
        assert got(client, run, tmp_path, "empty.txt") == b""


def test_bytes_that_do_not_match_are_never_given_out(s3, tmp_path):
    if not s3.checks_signatures:
        pytest.skip("objects can only be damaged where they are files: needs versitygw")
    home = tmp_path / "home"
    content = b"right" * 1000
    with up(home, s3.url("damage")) as server:
        client = client_of(server)
        run = client.create_run("0").info.run_id
        put(client, run, content, tmp_path)
        # A damaged copy in the cache is fetched again …
        cached = blob(home, content)
        os.chmod(cached, 0o600)
        cached.write_bytes(b"wrong" * 1000)
        with pytest.raises(Exception):
            got(client, run, tmp_path)
        assert got(client, run, tmp_path) == content
        # … but when the object itself is damaged there is nothing to give.
        cached.unlink()
        (s3.folder / BUCKET / "damage" / cached.parent.name / cached.name).write_bytes(b"wrong" * 1000)
        with pytest.raises(Exception):
            got(client, run, tmp_path)
        assert not cached.exists()


def test_the_cache_stays_small(s3, tmp_path):
    home = tmp_path / "home"
    with up(home, s3.url("bounded")):
        pass
    settings = home / "artifacts.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "cache_bytes": 3_000_000}))
    with SlipwayServer(home) as server:
        client = client_of(server)
        run = client.create_run("0").info.run_id
        contents = {f"{i}.bin": os.urandom(1_000_000) for i in range(6)}
        for name, content in contents.items():
            put(client, run, content, tmp_path, name)
        files = [p for p in (home / "blobs").glob("??/*")]
        assert len(files) == 6  # all of them were used a moment ago
    long_ago = time.time() - 3600
    for file in files:
        os.utime(file, (long_ago, long_ago))
    with SlipwayServer(home) as server:
        client = client_of(server)
        put(client, run, os.urandom(1_000_000), tmp_path, "new.bin")
        assert sum(p.stat().st_size for p in (home / "blobs").glob("??/*")) <= 3_000_000
        for name, content in contents.items():
            assert got(client, run, tmp_path, name) == content


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_single_failures_are_tried_again(s3, tmp_path, fault):
    home = tmp_path / "home"
    content = os.urandom(700_000)
    with FaultyProxy(s3.port) as proxy, up(home, s3.url(f"retry-{fault}", proxy.port)) as server:
        client = client_of(server)
        run = client.create_run("0").info.run_id
        proxy.faults = [("PUT", fault), ("PUT", fault), ("HEAD", "503")]
        put(client, run, content, tmp_path)
        assert [f for _, f in proxy.seen].count(fault) >= 2, proxy.seen
        blob(home, content).unlink()
        proxy.faults = [("GET", fault), ("GET", fault)]
        assert got(client, run, tmp_path) == content
        assert proxy.faults == []


def test_a_server_that_hangs_is_tried_again(s3, tmp_path):
    home = tmp_path / "home"
    content = os.urandom(700_000)
    with FaultyProxy(s3.port, stall_s=30) as proxy, up(home, s3.url("stall", proxy.port)) as server:
        client = client_of(server)
        run = client.create_run("0").info.run_id
        put(client, run, content, tmp_path)
        blob(home, content).unlink()
        proxy.faults = [("GET", "stall")]
        begun = time.monotonic()
        assert got(client, run, tmp_path) == content
        assert time.monotonic() - begun < 25


def test_an_upload_that_cannot_be_stored_is_refused_and_leaves_nothing(s3, tmp_path):
    home = tmp_path / "home"
    content = os.urandom(100_000)
    with FaultyProxy(s3.port) as proxy, up(home, s3.url("down", proxy.port)) as server:
        client = client_of(server)
        run = client.create_run("0").info.run_id
        proxy.always = "503"
        with pytest.raises(Exception):
            put(client, run, content, tmp_path)
        assert not blob(home, content).exists()
        assert client.list_artifacts(run) == []
        proxy.always = None
        put(client, run, content, tmp_path)
        assert got(client, run, tmp_path) == content


def test_a_server_that_is_killed_while_uploading_shows_no_half_object(s3, tmp_path):
    home = tmp_path / "home"
    content = os.urandom(9_000_000)
    with up(home, s3.url("killed")) as server:
        client = client_of(server)
        run = client.create_run("0").info.run_id
        file = tmp_path / "a.bin"
        file.write_bytes(content)
        target = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.bin"
        upload = subprocess.Popen(["curl", "-sS", "-T", str(file), target], stderr=subprocess.DEVNULL)
        time.sleep(0.05)
        server.kill()
        upload.wait()
        server.start()
        names = [f.path for f in client.list_artifacts(run)]
        if names:  # it was acknowledged, or nearly so: then it is whole
            assert got(client, run, tmp_path) == content
        put(client, run, content, tmp_path)
        assert got(client, run, tmp_path) == content


def test_garbage_is_removed_from_the_bucket(s3, tmp_path):
    home = tmp_path / "home"
    with up(home, s3.url("garbage")) as server:
        client = client_of(server)
        keep = client.create_run("0").info.run_id
        drop = client.create_run("0").info.run_id
        client.log_text(keep, "kept", "a.txt")
        client.log_text(drop, "dropped", "a.txt")
        client.delete_run(drop)
        done = subprocess.run(
            [str(binary()), "gc", "--home", str(home), "--json", "--older-than", "0s", "--grace", "0s"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["blobs"]["garbage"] == {"count": 1, "bytes": 7}
        for folder in (home / "blobs").glob("??"):
            shutil.rmtree(folder)
        assert got(client, keep, tmp_path, "a.txt") == b"kept"
        if s3.checks_signatures:
            assert len([p for p in (s3.folder / BUCKET / "garbage").rglob("*") if p.is_file()]) == 1


def run_up(home, *args, env=None):
    return subprocess.run(
        [str(binary()), "up", "--home", str(home), "--port", "0", *args],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )


def test_wrong_settings_are_refused_at_the_start(s3, tmp_path):
    if s3.checks_signatures:
        wrong = run_up(tmp_path / "a", "--artifacts", s3.url("x"), env={"AWS_SECRET_ACCESS_KEY": "wrong-wrong"})
        assert wrong.returncode == 5, wrong.stderr
        assert "AWS_ACCESS_KEY_ID" in wrong.stderr
    for url, code, words in (
        ("ftp://bucket/x", 2, "s3://BUCKET"),
        ("s3://key:secret@bucket/x", 2, "credentials"),
        (s3.url("x").replace(BUCKET, "no-such-bucket"), 3, "no-such-bucket"),
    ):
        done = run_up(tmp_path / "b", "--artifacts", url)
        assert (done.returncode, words in done.stderr) == (code, True), (url, done.stderr)
        assert "secret" not in done.stderr
    used = tmp_path / "used"
    with SlipwayServer(used) as server:
        client = client_of(server)
        client.log_text(client.create_run("0").info.run_id, "x", "a.txt")
    assert run_up(used, "--artifacts", s3.url("x")).returncode == 4
