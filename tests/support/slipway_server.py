"""A slipway server of a test's own: a scratch home, a free port, ended politely.

    with SlipwayServer(home) as server:
        requests.get(server.url + "/health")

The binary is $SLIPWAY_BIN, else build/release/bin/slipway below the checkout.
"""

import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binary() -> pathlib.Path:
    return pathlib.Path(os.environ.get("SLIPWAY_BIN", ROOT / "build/release/bin/slipway"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SlipwayServer:
    """`slipway up` as a child process; `url` answers once the object is entered."""

    poll_s = 0.02  # between two looks whether it is ready

    def __init__(self, home, port: int | None = None, args: tuple[str, ...] = ()):
        self.home = pathlib.Path(home)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.args = args
        self.process: subprocess.Popen | None = None
        self._log_path = self.home.parent / f"{self.home.name}-server.log"

    def __enter__(self) -> "SlipwayServer":
        self.start()
        return self

    def __exit__(self, exc_type, exc, traceback) -> None:
        code = self.stop()
        # A test that failed already tells more than the exit code.
        if exc_type is None and code != 0:
            raise AssertionError(f"slipway up ended with {code}:\n{self.log()}")

    def start(self, patience_s: float = 30) -> None:
        command = [str(binary()), "up", "--home", str(self.home), "--port", str(self.port)]
        with open(self._log_path, "ab") as log:
            self.process = subprocess.Popen(
                command + list(self.args), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + patience_s
        while not self._healthy():
            if self.process.poll() is not None:
                raise AssertionError(f"slipway up ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"no /health after {patience_s} s:\n{self.log()}")
            time.sleep(self.poll_s)

    def stop(self, patience_s: float = 30) -> int:
        """SIGTERM, and the exit code; SIGKILL when it does not end in time."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"slipway up did not end on SIGTERM:\n{self.log()}") from None

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")[-8000:]

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
