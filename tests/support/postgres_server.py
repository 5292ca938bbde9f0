"""A PostgreSQL server of a test's own: data folder under a temporary folder, a free loopback port, ended politely.

    with PostgresServer() as server:
        server.url("mydatabase")        # postgresql://slipway@127.0.0.1:PORT/mydatabase

As a command it runs another one beside such a server, with SLIPWAY_TEST_DATABASE set to its URL:

    python3 tests/support/postgres_server.py build/release/src/db_test

PostgreSQL's programs are Debian's (postgresql-15), else those in PATH. They refuse to run as root: then the user
"postgres" runs them.
"""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


def _folder_of_programs() -> pathlib.Path:
    debian = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    found = debian[-1] if debian else shutil.which("postgres")
    if not found:
        raise RuntimeError("no PostgreSQL server is installed: apt-get install postgresql-15")
    return pathlib.Path(found).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """fsync stays on: what is tested is what is kept."""

    USER = "slipway"

    def __init__(self, settings: dict[str, str] | None = None):
        self.programs = _folder_of_programs()
        self.port = _free_port()
        self.settings = {"max_connections": "300", "shared_buffers": "64MB", **(settings or {})}
        self.process: subprocess.Popen | None = None
        self._folder: pathlib.Path | None = None

    def __enter__(self) -> "PostgresServer":
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="slipway-postgres-"))
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        # An order of texts that is not by bytes, so that a forgotten COLLATE shows.
        self._run("initdb", "--pgdata", str(self.data), "--username", self.USER, "--auth", "trust", "--encoding", "UTF8",
                  "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en", "--no-instructions")
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def data(self) -> pathlib.Path:
        return self._folder / "data"

    def url(self, database: str = "slipway", password: str = "") -> str:
        secret = f":{password}" if password else ""
        return f"postgresql://{self.USER}{secret}@127.0.0.1:{self.port}/{database}"

    def start(self, patience_s: float = 60) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "", **self.settings}
        command = [str(self.programs / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self._folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._as_user())
        deadline = time.monotonic() + patience_s
        ready = [str(self.programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log()}")
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGINT, patience_s: float = 60) -> None:
        """SIGINT: connections are cut; SIGQUIT: at once, with recovery at the next start."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def create_database(self, name: str) -> str:
        self.sql(f'CREATE DATABASE "{name}"', "postgres")
        return self.url(name)

    def sql(self, statement: str, database: str = "slipway") -> str:
        """What psql prints for it, without headings."""
        command = [str(self.programs / "psql"), self.url(database), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError(f"{statement}: {done.stderr}")
        return done.stdout.strip()

    def log(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")[-8000:]

    @staticmethod
    def _as_user() -> dict:
        if os.geteuid() != 0:
            return {"cwd": "/"}
        owner = pwd.getpwnam("postgres")
        return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": "/"}

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run([str(self.programs / program), *args], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, **self._as_user())
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")


def main(command: list[str]) -> int:
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    with PostgresServer() as server:
        environment = {**os.environ, "SLIPWAY_TEST_DATABASE": server.create_database("slipway")}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
