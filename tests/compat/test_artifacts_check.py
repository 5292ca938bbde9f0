"""`slipway artifacts check`: every stored byte is read, and what was damaged is named with what needs it."""

import json
import os
import subprocess

import requests

from support.slipway_server import SlipwayServer, binary

FILES = {f"f{i}": os.urandom(5000 + i) for i in range(5)}


def check(home, *arguments) -> tuple[int, str]:
    done = subprocess.run(
        [str(binary()), "--home", str(home), "artifacts", "check", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_damaged_blob_is_found_and_mended_by_the_same_bytes(tmp_path):
    home = tmp_path / "home"
    with SlipwayServer(home) as server:

        def put(name):
            url = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/0/run/{name}"
            answer = requests.put(url, data=FILES[name], timeout=30)
            assert answer.status_code == 200
            return answer.headers["X-Content-SHA256"]

        digests = {name: put(name) for name in FILES}
        sound = {"sound": True, "blobs": 5, "bytes": sum(map(len, FILES.values())), "damaged": []}
        code, said = check(home, "--json")  # beside the server
        assert (code, json.loads(said)) == (0, sound)

        digest = digests["f3"]
        file = home / "blobs" / digest[:2] / digest
        file.chmod(0o600)
        damaged = bytearray(FILES["f3"])
        damaged[1234] ^= 1
        file.write_bytes(damaged)
        code, said = check(home, "--json")
        assert (code, json.loads(said)) == (7, {**sound, "sound": False, "damaged": [{"sha256": digest, "needed_by": "artifacts"}]})
        code, said = check(home)
        assert code == 7 and "1 damaged" in said and digest in said

        assert put("f3") == digest
        code, said = check(home)
        assert code == 0 and "5 blobs" in said


def test_a_home_that_is_not_there_is_said(tmp_path):
    done = subprocess.run(
        [str(binary()), "--home", str(tmp_path / "none"), "artifacts", "check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3 and "none" in done.stderr


def test_a_server_that_stopped_leaves_one_database_file(tmp_path):
    home = tmp_path / "home"
    with SlipwayServer(home) as server:
        body = {"name": "kept"}
        assert requests.post(server.url + "/api/2.0/mlflow/experiments/create", json=body, timeout=30).status_code == 200
        assert (home / "slipway.db-wal").exists()
    assert sorted(path.name for path in home.glob("slipway.db*")) == ["slipway.db"]
