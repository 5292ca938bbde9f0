"""`slipway gc`: what was deleted long ago goes, what anything names stays, whatever happens in between."""

import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
import requests
from mlflow.tracking import MlflowClient

from support.slipway_server import SlipwayServer, binary

DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# Columns that hold digests of what is not in the blob store, or that prove what was, without keeping it.
NO_ROOTS = {"audit_entries", "audit_nodes", "file_digests", "lineage_nodes", "lineage_edges", "pipeline_runs"}


def gc(home, *args, code=0):
    done = subprocess.run(
        [str(binary()), "gc", "--home", str(home), "--json", *args], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout) if done.stdout else done.stderr


def blobs(home) -> set[str]:
    return {p.name for p in (pathlib.Path(home) / "blobs").glob("??/*")}


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


NOW = ("--older-than", "0s", "--grace", "0s")


def test_a_dry_run_says_exactly_what_a_real_one_then_does(home):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        experiment = client.create_experiment("work")
        keep = client.create_run(experiment).info.run_id
        drop = client.create_run(experiment).info.run_id
        client.log_text(keep, "shared", "a.txt")
        client.log_text(drop, "shared", "a.txt")
        client.log_text(drop, "only here", "b.txt")
        client.log_text(keep, "over", "c.txt")
        client.log_text(keep, "written again", "c.txt")  # "over" is named by nothing now
        client.delete_run(drop)
        before = blobs(home)
        said = gc(home, *NOW, "--dry-run")
        assert blobs(home) == before
        assert client.get_run(drop).info.lifecycle_stage == "deleted"
        assert said["purged"] == [
            {"experiment": "work", "experiment_gone": False, "experiment_id": experiment, "logged_models": 0, "runs": 1}
        ]
        assert said["blobs"]["garbage"] == {"count": 2, "bytes": len("only here") + len("over")}
        done = gc(home, *NOW)
        assert done["purged"] == said["purged"]
        assert done["blobs"]["garbage"] == said["blobs"]["garbage"]
        assert before - blobs(home) == set(said["blobs"]["garbage_digests"])
        with pytest.raises(Exception, match="not found"):
            client.get_run(drop)
        assert pathlib.Path(client.download_artifacts(keep, "a.txt")).read_text() == "shared"
        assert pathlib.Path(client.download_artifacts(keep, "c.txt")).read_text() == "written again"
        nothing = gc(home, *NOW)
        assert (nothing["purged"], nothing["blobs"]["garbage"]["count"]) == ([], 0)


def test_what_was_deleted_lately_can_still_be_restored(home):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        experiment = client.create_experiment("work")
        run = client.create_run(experiment).info.run_id
        client.log_text(run, "precious", "a.txt")
        client.delete_run(run)
        assert gc(home, "--older-than", "1d", "--grace", "0s")["purged"] == []
        client.restore_run(run)
        assert pathlib.Path(client.download_artifacts(run, "a.txt")).read_text() == "precious"


@pytest.mark.parametrize(("retention", "goes"), [("forever", False), ("90d", False), ("0s", True), ("a while", False)])
def test_an_experiments_own_retention_comes_first(home, retention, goes):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        experiment = client.create_experiment("work", tags={"slipway.retention": retention})
        run = client.create_run(experiment).info.run_id
        client.delete_run(run)
        report = gc(home, "--older-than", "30d" if goes else "0s", "--grace", "0s")
        assert bool(report["purged"]) == goes
        assert any("a while" in note for note in report["notes"]) == (retention == "a while")


def test_a_deleted_experiment_goes_with_all_that_is_in_it(home):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        gone = client.create_experiment("gone")
        other = client.create_experiment("other")
        for experiment in (gone, other):
            run = client.create_run(experiment).info.run_id
            client.log_text(run, f"of {experiment}", "a.txt")
            client.log_metric(run, "auc", 0.5)
            client.delete_run(run)
        client.delete_experiment(gone)
        report = gc(home, *NOW, "--experiment", "gone")
        assert [row["experiment"] for row in report["purged"]] == ["gone"]
        assert report["purged"][0]["experiment_gone"]
        assert client.get_experiment_by_name("gone") is None
        assert client.create_experiment("gone") != gone  # the name is free again
        assert gc(home, "--experiment", "nowhere", code=3)


def test_what_a_model_version_comes_from_stays(home):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        run = client.create_run("0").info.run_id
        client.log_text(run, "weights", "model/weights")
        client.create_registered_model("late")
        source = client.get_run(run).info.artifact_uri + "/model"
        client.create_model_version("late", source, run)
        client.delete_run(run)
        report = gc(home, *NOW)
        assert report["held"] == {"count": 1, "examples": [f"run {run} (late/1)"]}
        assert report["purged"] == []
        assert report["blobs"]["garbage"]["count"] == 0
        client.delete_model_version("late", "1")
        assert gc(home, *NOW)["purged"][0]["runs"] == 1


def test_a_missing_blob_is_said_and_stops_nothing(home):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        run = client.create_run("0").info.run_id
        client.log_text(run, "lost", "a.txt")
        lost = blobs(home)
        client.log_text(run, "over", "b.txt")
        client.log_text(run, "again", "b.txt")
        for name in lost:
            (home / "blobs" / name[:2] / name).unlink()
        report = gc(home, *NOW)
        assert report["blobs"]["missing_digests"] == sorted(lost)
        assert report["blobs"]["garbage"]["count"] == 1


def test_young_bytes_stay_and_a_put_makes_old_ones_young(home):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        run = client.create_run("0").info.run_id
        client.log_text(run, "first", "a.txt")
        client.log_text(run, "second", "a.txt")
        assert gc(home)["blobs"]["young"]["count"] == 1
        days_ago = time.time() - 3 * 86400
        for name in blobs(home):
            os.utime(home / "blobs" / name[:2] / name, (days_ago, days_ago))
        client.log_text(run, "first", "b.txt")  # there already, and old
        client.delete_run(run)
        report = gc(home, "--older-than", "0s")
        assert report["purged"][0]["runs"] == 1
        assert report["blobs"]["garbage"]["count"] == 1  # "second"
        assert report["blobs"]["young"]["count"] == 1


def test_uploads_beside_a_collection_lose_nothing(home):
    """Writers log, overwrite and delete while collections run one after the other."""
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        stop = threading.Event()
        problems = []

        def work(number):
            try:
                mine = MlflowClient(server.url)
                for i in range(1000):
                    if stop.is_set():
                        return
                    run = mine.create_run("0").info.run_id
                    mine.log_text(run, f"shared {i % 5}", "a.txt")
                    mine.log_text(run, f"own {number} {i}", "b.txt")
                    if i % 2:
                        mine.delete_run(run)
                    elif pathlib.Path(mine.download_artifacts(run, "a.txt")).read_text() != f"shared {i % 5}":
                        problems.append("wrong bytes")
            except Exception as problem:  # noqa: BLE001 - any of them fails the test
                problems.append(repr(problem))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        purged = 0
        until = time.monotonic() + 5
        while time.monotonic() < until:
            report = gc(home, "--older-than", "0s", "--grace", "1h")
            purged += sum(row["runs"] for row in report["purged"])
        stop.set()
        for thread in threads:
            thread.join()
        assert problems == []
        assert purged > 0
        assert gc(home, *NOW)["blobs"]["missing"] == 0
        for run in client.search_runs(["0"], max_results=1000):
            for file in client.list_artifacts(run.info.run_id):
                client.download_artifacts(run.info.run_id, file.path)


def test_a_collection_that_is_killed_is_finished_by_the_next(home):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        for i in range(60):
            run = client.create_run("0").info.run_id
            client.log_text(run, f"text {i}", "a.txt")
            if i % 3:
                client.delete_run(run)
        command = [str(binary()), "gc", "--home", str(home), "--older-than", "0s", "--grace", "0s"]
        for delay in (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
        last = gc(home, *NOW)
        assert last["blobs"]["missing"] == 0
        assert len(blobs(home)) == 20
        assert len(client.search_runs(["0"], run_view_type=3)) == 20
    assert subprocess.run([str(binary()), "audit", "verify", "--home", str(home)]).returncode == 0


def test_only_one_collection_at_a_time(home, tmp_path):
    with SlipwayServer(home):
        with open(home / "blobs" / "gc.lock", "w") as lock:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
            assert "collection" in gc(home, code=4)


def test_the_server_collects_on_request(home):
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        run = client.create_run("0").info.run_id
        client.log_text(run, "x", "a.txt")
        client.delete_run(run)
        url = server.url + "/api/v1/gc"
        said = requests.post(url, json={"dry_run": True, "older_than": "0s"}, timeout=30)
        assert (said.status_code, said.json()["purged"][0]["runs"]) == (200, 1)
        done = requests.post(url, json={"older_than": "0s", "grace": "1h", "experiments": ["Default"]}, timeout=30)
        assert (done.status_code, done.json()["purged"][0]["runs"]) == (200, 1)
        for wrong in ({"grace": "1s"}, {"older_than": 3}, {"dryrun": True}, {"experiments": [1]}, [1]):
            assert requests.post(url, json=wrong, timeout=30).status_code == 400, wrong
        actions = [e["action"] for e in requests.get(server.url + "/api/v1/audit?limit=100", timeout=30).json()["entries"]]
        assert "run.purge" in actions
        assert "gc.finish" in actions


def test_every_digest_that_the_database_names_is_kept(home):
    """Whatever table names a blob, garbage collection must know it: a pipeline fills most of them."""
    with SlipwayServer(home) as server:
        client = MlflowClient(server.url)
        run = client.create_run("0").info.run_id
        client.log_text(run, "x", "a.txt")
    pipeline = home.parent / "pipeline.yaml"
    pipeline.write_text(PIPELINE)
    (home.parent / "t.csv").write_text("a,b\n1,2\n3,4\n")
    (home.parent / "make.sh").write_text(
        'echo a,b > "$SLIPWAY_OUTPUT_OUT_CSV"; mkdir -p "$SLIPWAY_OUTPUT_TREE/deep"; echo 1 > "$SLIPWAY_OUTPUT_TREE/deep/f"\n'
    )
    ran = subprocess.run(
        [str(binary()), "run", str(pipeline), "--home", str(home)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    garbage = set(gc(home, *NOW, "--dry-run")["blobs"]["garbage_digests"])
    named = {}
    with sqlite3.connect(home / "slipway.db") as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"):
            if table in NO_ROOTS:
                continue
            for row in db.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, str):
                        named.update({digest: table for digest in DIGEST.findall(value)})
    there = blobs(home)
    assert len(there & named.keys()) >= 2, "the pipeline stored nothing: this test would prove nothing"
    assert {d: t for d, t in named.items() if d in garbage} == {}
    # Manifests keep their files, too.
    for digest in there & named.keys():
        content = (home / "blobs" / digest[:2] / digest).read_bytes()
        if content.startswith(b'{"files"'):
            assert not {f["sha256"] for f in json.loads(content)["files"]} & garbage


PIPELINE = """\
name: bits
steps:
  make:
    command: [sh, make.sh]
    inputs: [make.sh]
    outputs: [out.csv, tree]
  rows:
    ingest:
      sources: {t: {path: t.csv}}
      sql: SELECT * FROM t
      dataset: bits
"""
