"""The peer of the tracking and registry benchmarks: the real `mlflow server` with a SQLite file on a free port.

    with peer_mlflow.start(folder) as server:   # None where MLflow is not installed
        ... server.url, server.cpu_seconds(), server.memory_mib()

A `Server` is any process on a port, with what it costs: slipway's, too (`start_slipway`). Figures are of the whole
tree of processes, from /proc. Ended by process id.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def slipway_binary() -> str:
    return str(pathlib.Path(os.environ.get("SLIPWAY_BIN", ROOT / "build/release/bin/slipway")).resolve())


def mlflow_python() -> str | None:
    """The Python that has the full mlflow package: $MLFLOW_PYTHON, or what ./dev bench installed."""
    python = pathlib.Path(os.environ.get("MLFLOW_PYTHON", ROOT / ".deps/mlflow-venv/bin/python"))
    return str(python) if python.exists() else None


def stat_of(pid: int) -> list[str]:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Server:
    def __init__(self, name: str, command: list[str], port: int, folder: pathlib.Path, patience_s: float):
        self.name, self.port, self.folder = name, port, folder
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{name}.log"
        begun = time.perf_counter()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        while not self._ready():
            if self.process.poll() is not None or time.perf_counter() - begun > patience_s:
                self.stop()
                sys.exit(f"{name} did not come up:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.01)
        self.ready_seconds = time.perf_counter() - begun

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def pids(self) -> list[int]:
        """The process and all below it."""
        parents = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    parents[int(entry.name)] = int(stat_of(int(entry.name))[1])
        tree = [self.process.pid]
        for pid in tree:
            tree += [child for child, parent in parents.items() if parent == pid]
        return tree

    def cpu_seconds(self) -> float:
        """User and system time, with that of children that have ended."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += sum(int(field) for field in stat_of(pid)[11:15])
        return total / TICKS

    def memory_mib(self) -> float:
        """Proportional set size: pages that processes share count once."""
        kib = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kib += int(line.split()[1])
        return kib / 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def start(folder, patience_s: float = 400) -> Server | None:
    """`mlflow server` as it comes, with a SQLite file and artifacts below the folder; None where it is not installed."""
    python = mlflow_python()
    if python is None:
        return None
    folder = pathlib.Path(folder)
    port = free_port()
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts")]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return Server("mlflow", command, port, folder, patience_s)


def start_slipway(folder, *arguments: str) -> Server:
    folder = pathlib.Path(folder)
    port = free_port()
    command = [slipway_binary(), "up", "--home", str(folder / "home"), "--port", str(port), *arguments]
    return Server("slipway", command, port, folder, 60)
