"""Disks that fill up, copies, and schemas of other versions: the database of a home, seen from outside."""

import json
import os
import shutil
import sqlite3
import subprocess

import pytest
import requests

from support.slipway_server import SlipwayServer, binary


def slipway(home, *args):
    return subprocess.run([str(binary()), *args, "--home", str(home)], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=120)


def slipway_json(home, *args):
    done = slipway(home, *args, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def log_metric(server, run, step):
    body = {"run_id": run, "key": "m", "value": step, "timestamp": 1, "step": step}
    return requests.post(server.url + "/api/2.0/mlflow/runs/log-metric", json=body, timeout=30)


def new_run(server):
    answer = requests.post(server.url + "/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["run"]["info"]["run_id"]


def get_run(server, run):
    return requests.get(server.url + "/api/2.0/mlflow/runs/get", params={"run_id": run}, timeout=30)


@pytest.fixture
def small_disk(tmp_path):
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(root)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("a small tmpfs could not be mounted; run this test as root")
    yield root
    subprocess.run(["umount", "-l", str(root)], check=False)


def test_a_full_disk_refuses_writes_serves_reads_and_heals_by_itself(small_disk):
    with SlipwayServer(small_disk / "home") as server:
        run = new_run(server)
        assert log_metric(server, run, 0).status_code == 200
        ballast = small_disk / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            try:
                while file.write(b"x" * 65536):
                    pass
            except OSError:
                pass
        acknowledged, refused = [0], None
        tag = {"run_id": run, "key": "t", "value": "y" * 5000}
        for step in range(1, 3000):
            answer = log_metric(server, run, step)
            if answer.status_code != 200:
                refused = answer
                break
            acknowledged.append(step)
            requests.post(server.url + "/api/2.0/mlflow/runs/set-tag", json={**tag, "key": f"t{step}"}, timeout=30)
        assert refused is not None and refused.status_code == 507, refused and refused.text
        assert refused.json()["error_code"] == "RESOURCE_EXHAUSTED"
        for _ in range(20):
            assert log_metric(server, run, 10_000).status_code in (200, 507)
            assert get_run(server, run).status_code == 200
        assert requests.get(server.url + "/health", timeout=5).status_code == 200
        assert "\nslipway_db_writes_refused 0\n" in requests.get(server.url + "/metrics", timeout=5).text
        ballast.unlink()
        assert log_metric(server, run, 5_000).status_code == 200
        history = requests.get(server.url + "/api/2.0/mlflow/metrics/get-history",
                               params={"run_id": run, "metric_key": "m"}, timeout=30).json()
        steps = [point["step"] for point in history["metrics"]]
        assert len(steps) == len(set(steps)) and set(acknowledged) | {5_000} <= set(steps)
    assert slipway(small_disk / "home", "db", "check").returncode == 0


def test_check_counts_artifacts_that_are_missing(tmp_path):
    home = tmp_path / "home"
    with SlipwayServer(home) as server:
        run = new_run(server)
        url = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/"
        for name in ("a.txt", "b.txt"):
            assert requests.put(url + name, data=name.encode(), timeout=30).status_code == 200
        assert slipway_json(home, "db", "check")["blobs"] == {
            "checked": True, "referenced": 2, "missing": 0, "missing_by_kind": {}, "examples": []}
    [lost, _] = [path for path in (home / "blobs").rglob("*") if path.is_file() and len(path.name) == 64]
    lost.unlink()
    checked = slipway(home, "db", "check", "--json")
    assert checked.returncode == 7
    found = json.loads(checked.stdout)
    assert not found["sound"] and found["findings"] == []
    assert found["blobs"]["missing_by_kind"] == {"artifacts": 1} and found["blobs"]["examples"] == [lost.name]


def test_a_damaged_page_is_found(tmp_path):
    home = tmp_path / "home"
    with SlipwayServer(home) as server:
        run = new_run(server)
        for step in range(50):
            requests.post(server.url + "/api/2.0/mlflow/runs/set-tag",
                          json={"run_id": run, "key": f"t{step}", "value": "v" * 500}, timeout=30)
    with sqlite3.connect(home / "slipway.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'run_tags'").fetchone()[0]
    with open(home / "slipway.db", "r+b") as file:
        file.seek((page - 1) * 4096 + 8)
        file.write(b"\xff" * 64)
    done = slipway(home, "db", "check")
    assert done.returncode in (1, 7) and ("run_tags" in done.stdout or "malformed" in done.stderr), done.stdout + done.stderr
    refused = slipway(home, "db", "backup", str(tmp_path / "copy.db"))
    assert refused.returncode == 1 and not (tmp_path / "copy.db").exists()


def test_backup_under_load_and_restore(tmp_path):
    home = tmp_path / "home"
    with SlipwayServer(home) as server:
        run = new_run(server)
        for step in range(20):
            assert log_metric(server, run, step).status_code == 200
        copy = slipway_json(home, "db", "backup", str(tmp_path) + "/")["file"]
        assert slipway(home, "db", "backup", copy).returncode == 4  # never overwrites
        later = new_run(server)
        refused = slipway(home, "db", "restore", copy)
        assert refused.returncode == 4 and "stop the server" in refused.stderr
        assert get_run(server, later).status_code == 200
    for bad, code in ((b"nothing of the kind", 2), (open(copy, "rb").read()[: 4096 * 5], 1)):
        file = tmp_path / "bad.db"
        file.write_bytes(bad)
        assert slipway(home, "db", "restore", str(file)).returncode == code
    restored = slipway_json(home, "db", "restore", copy)
    assert os.path.exists(restored["kept"])
    with SlipwayServer(home) as server:
        assert get_run(server, run).status_code == 200
        assert get_run(server, later).status_code == 404


def test_an_older_program_leaves_a_newer_database_alone(tmp_path):
    home = tmp_path / "home"
    with SlipwayServer(home):
        pass
    with sqlite3.connect(home / "slipway.db") as db:
        db.execute("INSERT INTO schema_migrations VALUES ('tracking', 999, 'later', 'x')")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (home / "slipway.db").read_bytes()
    for command in (["up", "--port", "0"], ["models", "ls"], ["db", "migrate"], ["db", "migrate", "--dry-run"]):
        done = slipway(home, *command)
        assert done.returncode == 4 and "newer slipway" in done.stderr, (command, done.stderr)
    assert (home / "slipway.db").read_bytes() == before


def test_pending_migrations_are_run_by_the_server_after_a_copy(tmp_path):
    home = tmp_path / "home"
    with SlipwayServer(home) as server:
        run = new_run(server)
    # As if this home came from a version that had no lineage yet.
    with sqlite3.connect(home / "slipway.db") as db:
        db.executescript("DROP TABLE lineage_edges; DROP TABLE lineage_nodes; DELETE FROM schema_migrations WHERE module = 'governance';")
    looked = slipway(home, "models", "ls")
    assert looked.returncode == 4 and "slipway db migrate" in looked.stderr
    planned = slipway_json(home, "db", "migrate", "--dry-run")
    assert {migration["module"] for migration in planned["migrations"]} == {"governance"}
    assert not (home / "backups").exists()
    shutil.copytree(home, tmp_path / "other")
    with SlipwayServer(home) as server:
        assert get_run(server, run).status_code == 200
    assert len(list((home / "backups").glob("*-before-migration.db"))) == 1
    assert slipway(home, "models", "ls").returncode == 0

    done = slipway_json(tmp_path / "other", "db", "migrate")
    assert os.path.exists(done["backup"])
    assert slipway_json(tmp_path / "other", "db", "migrate")["migrations"] == []
