"""slipway on PostgreSQL, driven by MLflow's client; and what is left when the server goes away in the middle."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import mlflow
import pytest
import requests

from support.postgres_server import PostgresServer
from support.slipway_server import SlipwayServer, binary


@pytest.fixture(scope="module")
def postgres():
    with PostgresServer() as running:
        yield running


@pytest.fixture
def home(postgres, tmp_path):
    """A home that keeps its metadata in a database of its own."""
    database = f"slipway_{abs(hash(str(tmp_path))) % 10**9}"
    return tmp_path / "home", postgres.create_database(database), database


def slipway(home, *args, env=None):
    return subprocess.run([str(binary()), *args, "--home", str(home)], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})


def test_mlflows_client_works(home):
    folder, url, _ = home
    with SlipwayServer(folder, args=("--database", url)) as server:
        client = mlflow.MlflowClient(server.url, registry_uri=server.url)
        experiment = client.create_experiment("on postgres", tags={"team": "risk"})
        runs = []
        for i in range(5):
            run = client.create_run(experiment, run_name=f"r{i}")
            client.log_param(run.info.run_id, "lr", 0.1 * i)
            for step in range(3):
                client.log_metric(run.info.run_id, "auc", 0.5 + 0.1 * i + 0.01 * step, step=step)
            client.log_metric(run.info.run_id, "odd", float("nan") if i == 0 else float("inf"))
            client.set_tag(run.info.run_id, "kind", "Even" if i % 2 == 0 else "odd")
            client.set_terminated(run.info.run_id)
            runs.append(run.info.run_id)
        found = client.search_runs([experiment], "metrics.auc > 0.65 AND tags.kind = 'Even'", order_by=["metrics.auc DESC"])
        assert [run.info.run_id for run in found] == [runs[4], runs[2]]
        # LIKE tells capitals apart, ILIKE does not; % and _ are the only special characters.
        assert len(client.search_runs([experiment], "tags.kind LIKE 'even'")) == 0
        assert len(client.search_runs([experiment], "tags.kind ILIKE 'ev_n'")) == 3
        assert len(client.search_runs([experiment], "attributes.run_name LIKE 'r%'")) == 5
        history = client.get_metric_history(runs[1], "auc")
        assert [point.step for point in history] == [0, 1, 2]
        with pytest.raises(mlflow.exceptions.MlflowException, match="Changing param values"):
            client.log_param(runs[1], "lr", "other")
        assert client.get_experiment_by_name("on postgres").tags == {"team": "risk"}

        client.create_registered_model("late", tags={"a": "b"})
        version = client.create_model_version("late", source=f"runs:/{runs[4]}/model", run_id=runs[4])
        client.set_registered_model_alias("late", "champion", version.version)
        assert client.get_model_version_by_alias("late", "champion").version == version.version
        assert [model.name for model in client.search_registered_models("name LIKE 'la%'")] == ["late"]
        client.log_text(runs[4], "hello", "notes/hello.txt")
        assert [file.path for file in client.list_artifacts(runs[4], "notes")] == ["notes/hello.txt"]
    # The home remembers, and the audit log is whole.
    assert json.loads((folder / "database.json").read_text())["url"] == url
    assert not (folder / "slipway.db").exists()
    assert slipway(folder, "audit", "verify").returncode == 0
    checked = slipway(folder, "db", "check", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout)["sound"]


def test_a_password_is_taken_from_the_environment_and_shown_nowhere(home, postgres):
    folder, url, database = home
    secret = postgres.url(database, password="hunter2")
    refused = slipway(folder, "models", "ls", "--database", secret)
    assert refused.returncode == 2 and "hunter2" not in refused.stderr and "PGPASSWORD" in refused.stderr
    server = SlipwayServer(folder)
    os.environ["SLIPWAY_DATABASE"] = secret
    try:
        with server:
            assert requests.get(server.url + "/health", timeout=5).status_code == 200
    finally:
        del os.environ["SLIPWAY_DATABASE"]
    assert "hunter2" not in server.log()
    assert json.loads((folder / "database.json").read_text())["url"] == url
    elsewhere = slipway(folder, "models", "ls", "--database", postgres.url("another"))
    assert elsewhere.returncode == 4 and "another" in elsewhere.stderr


def test_two_processes_share_the_database(home, tmp_path):
    folder, url, _ = home
    pipeline = tmp_path / "chain.yaml"
    pipeline.write_text("name: chain\nsteps:\n  one:\n    command: 'echo 1 > $SLIPWAY_OUTPUT_OUT'\n    outputs: [out]\n")
    with SlipwayServer(folder, args=("--database", url)) as server:
        client = mlflow.MlflowClient(server.url)
        stop = threading.Event()
        logged = []

        def load():
            run = client.create_run("0").info.run_id
            while not stop.is_set():
                client.log_metric(run, "m", len(logged), step=len(logged))
                logged.append(run)

        worker = threading.Thread(target=load)
        worker.start()
        results = [slipway(folder, "run", str(pipeline)) for _ in range(3)]
        stop.set()
        worker.join()
        assert [result.returncode for result in results] == [0, 0, 0], results[-1].stderr
        assert len(client.get_metric_history(logged[0], "m")) == len(logged) > 0
    assert slipway(folder, "audit", "verify").returncode == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_a_database_that_goes_away_under_load_loses_nothing_acknowledged(home, postgres, how):
    """Four clients log numbered points. The database is stopped and started twice meanwhile. What was answered with 200
    is there once; what was refused is refused in time."""
    folder, url, database = home
    with SlipwayServer(folder, args=("--database", url)) as server:
        client = mlflow.MlflowClient(server.url)
        run = client.create_run("0").info.run_id
        acknowledged, unknown, refused = set(), set(), []
        stop = threading.Event()

        def load(worker):
            session = requests.Session()
            i = 0
            while not stop.is_set():
                i += 1
                key = f"w{worker}"
                body = {"run_id": run, "key": key, "value": i, "timestamp": 1, "step": i}
                begun = time.monotonic()
                answer = session.post(server.url + "/api/2.0/mlflow/runs/log-metric", json=body, timeout=30)
                assert time.monotonic() - begun < 20
                if answer.status_code == 200:
                    acknowledged.add((key, i))
                else:
                    assert answer.status_code in (500, 503), answer.text
                    refused.append(answer.status_code)
                    if "not known" in answer.text:
                        unknown.add((key, i))
                    time.sleep(0.01)

        workers = [threading.Thread(target=load, args=(w,)) for w in range(4)]
        for worker in workers:
            worker.start()
        for _ in range(2):
            time.sleep(0.7)
            postgres.stop(how)
            time.sleep(0.3)
            # Alive while its database is away.
            assert requests.get(server.url + "/health", timeout=5).status_code == 200
            postgres.start()
            before = len(acknowledged)
            deadline = time.monotonic() + 5
            while len(acknowledged) == before:
                assert time.monotonic() < deadline, "writes did not go on within five seconds"
                time.sleep(0.05)
        time.sleep(0.5)
        stop.set()
        for worker in workers:
            worker.join()
        assert len(acknowledged) > 50 and set(refused) <= {503}
        kept = [(key, point.step) for key in (f"w{w}" for w in range(4)) for point in client.get_metric_history(run, key)]
        assert len(kept) == len(set(kept))
        assert acknowledged <= set(kept)
        # What was refused is not there, unless the answer said that nobody knows.
        assert set(kept) - acknowledged <= unknown
    assert slipway(folder, "audit", "verify").returncode == 0


def test_a_killed_server_keeps_what_it_acknowledged_and_one_server_has_the_database(home, tmp_path):
    folder, url, _ = home
    server = SlipwayServer(folder, args=("--database", url))
    server.start()
    try:
        run = mlflow.MlflowClient(server.url).create_run("0").info.run_id
        second = slipway(tmp_path / "second", "up", "--port", "0", "--database", url)
        assert second.returncode == 4 and "another slipway server" in second.stderr
        acknowledged = set()

        def load(worker):
            session = requests.Session()
            for step in range(100_000):
                body = {"run_id": run, "key": f"w{worker}", "value": step, "timestamp": 1, "step": step}
                try:
                    answer = session.post(server.url + "/api/2.0/mlflow/runs/log-metric", json=body, timeout=30)
                except requests.RequestException:
                    return
                if answer.status_code == 200:
                    acknowledged.add((f"w{worker}", step))

        workers = [threading.Thread(target=load, args=(w,)) for w in range(4)]
        for worker in workers:
            worker.start()
        time.sleep(1)
        server.process.kill()
        server.process.wait()
        for worker in workers:
            worker.join()
    finally:
        server.kill()
    assert len(acknowledged) > 50
    with SlipwayServer(folder) as again:
        client = mlflow.MlflowClient(again.url)
        kept = [(f"w{w}", point.step) for w in range(4) for point in client.get_metric_history(run, f"w{w}")]
        assert len(kept) == len(set(kept)) and acknowledged <= set(kept)
    assert slipway(folder, "audit", "verify").returncode == 0


class Cutter:
    """Stands between slipway and its database. When armed, it loses the answer to the COMMIT of the next transaction in
    which MARK was written ("after"), or the COMMIT itself ("before"), together with the connection."""

    MARK = "cut here"

    def __init__(self, port):
        self.target = port
        self.armed = None
        self.cuts = 0
        self.port = 0
        self.open()

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self):
        """No connection is made any more; those that there are go on."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server = socket.create_connection(("127.0.0.1", self.target))
        state = {"swallow": False}
        threading.Thread(target=self._answers, args=(client, server, state), daemon=True).start()
        writing = False
        try:
            while data := client.recv(65536):
                writing = writing or self.MARK.encode() in data
                if writing and self.armed and b"COMMIT\0" in data:
                    how, self.armed = self.armed, None
                    self.cuts += 1
                    if how == "after":
                        state["swallow"] = True
                        server.sendall(data)
                        return  # the answer ends both
                    break
                if b"COMMIT\0" in data:
                    writing = False
                server.sendall(data)
        except OSError:
            pass
        self._end(client, server)

    def _answers(self, client, server, state):
        try:
            while data := server.recv(65536):
                if state["swallow"]:
                    break
                client.sendall(data)
        except OSError:
            pass
        self._end(client, server)

    @staticmethod
    def _end(*ends):
        for end in ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def test_a_commit_whose_answer_is_lost_is_looked_up(home, postgres):
    folder, url, database = home
    cutter = Cutter(postgres.port)
    through = url.replace(f":{postgres.port}/", f":{cutter.port}/")
    with SlipwayServer(folder, args=("--database", through)) as server:
        client = mlflow.MlflowClient(server.url)
        run = client.create_run("0").info.run_id

        def log(step):
            body = {"run_id": run, "key": Cutter.MARK, "value": 1, "timestamp": 1, "step": step}
            return requests.post(server.url + "/api/2.0/mlflow/runs/log-metric", json=body, timeout=30)

        for step in range(1, 7):
            cutter.armed = "after" if step % 2 else "before"
            answer = log(step)
            assert cutter.armed is None, "no write was cut"
            if step % 2:
                assert answer.status_code == 200, answer.text
            else:
                assert answer.status_code == 503 and "nothing of this write was kept" in answer.text, answer.text
        assert [point.step for point in client.get_metric_history(run, Cutter.MARK)] == [1, 3, 5]
        assert cutter.cuts == 6
        # Nobody can be asked what became of it: then it says so.
        cutter.armed = "after"
        cutter.close()
        answer = log(7)
        assert answer.status_code == 503 and "is not known" in answer.text, answer.text
        cutter.open()
        deadline = time.monotonic() + 5
        while log(8).status_code != 200:
            assert time.monotonic() < deadline
        assert [point.step for point in client.get_metric_history(run, Cutter.MARK)] == [1, 3, 5, 7, 8]
    cutter.close()


def test_backup_and_restore(home, tmp_path):
    folder, url, database = home
    with SlipwayServer(folder, args=("--database", url)) as server:
        client = mlflow.MlflowClient(server.url)
        client.create_experiment("before")
        made = slipway(folder, "db", "backup", str(tmp_path) + "/", "--json")
        assert made.returncode == 0, made.stderr
        copy = json.loads(made.stdout)["file"]
        client.create_experiment("after")
        refused = slipway(folder, "db", "restore", copy)
        assert refused.returncode == 4 and "stop the server" in refused.stderr
    restored = slipway(folder, "db", "restore", copy, "--json")
    assert restored.returncode == 0, restored.stderr
    assert "before" in json.loads(restored.stdout)["kept"]
    with SlipwayServer(folder) as server:
        client = mlflow.MlflowClient(server.url)
        assert client.get_experiment_by_name("before") is not None
        assert client.get_experiment_by_name("after") is None
        client.create_experiment("after")  # numbers go on
    damaged = tmp_path / "damaged.dump"
    damaged.write_bytes(open(copy, "rb").read()[:3000])
    refused = slipway(folder, "db", "restore", str(damaged))
    assert refused.returncode == 1, refused.stderr
