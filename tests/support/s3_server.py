"""A real S3 server on loopback, and a proxy in front of it that misbehaves as networks do.

The server is versitygw (it checks signatures and keeps objects in a folder) when $VERSITYGW, .deps/bin or the PATH has
one, else moto's (a pinned Python package).
"""

import http.client
import os
import pathlib
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler

from support.slipway_server import ROOT, free_port

ACCESS_KEY = "slipway-test-access"
SECRET_KEY = "slipway-test-secret-key"
BUCKET = "artifacts"


def versitygw() -> str | None:
    for place in (os.environ.get("VERSITYGW"), ROOT / ".deps/bin/versitygw"):
        if place and pathlib.Path(place).exists():
            return str(place)
    return shutil.which("versitygw")


class S3Server:
    """`port` answers S3; the bucket is made."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        self.environment = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",  # no look-ups of a cloud's address
        }
        self.process = None
        self.checks_signatures = versitygw() is not None

    def url(self, prefix="home", port=None) -> str:
        options = f"endpoint_override=127.0.0.1:{port or self.port}&scheme=http&region=us-east-1"
        return f"s3://{BUCKET}/{prefix}?{options}"

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.checks_signatures:
            (self.folder / BUCKET).mkdir()
            command = [versitygw(), "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", "us-east-1"]
            command += ["--port", f"127.0.0.1:{self.port}", "posix", str(self.folder)]
        else:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with open(self.folder.parent / f"{self.folder.name}.log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5)
                break
            except urllib.error.HTTPError:
                break  # it answers
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError("the S3 server did not start") from None
                time.sleep(0.05)
        if not self.checks_signatures:
            made = urllib.request.Request(f"http://127.0.0.1:{self.port}/{BUCKET}", method="PUT")
            urllib.request.urlopen(made, timeout=10)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:  # it waits for connections that a test left open
            self.process.kill()
            self.process.wait()


class FaultyProxy:
    """Passes HTTP on to a port of this machine; `faults` holds what goes wrong with the next requests.

    A fault is (method, kind): "503" answers so without asking the server; "cut" ends the connection in the middle of
    the request's or the answer's body; "stall" sends half of the answer and then nothing for `stall_s`.
    """

    def __init__(self, target_port: int, stall_s: float = 20):
        self.target_port = target_port
        self.stall_s = stall_s
        self.faults: list[tuple[str, str]] = []
        self.always: str | None = None
        self.seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                proxy._serve(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

        class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _next_fault(self, method):
        with self._lock:
            if self.always:
                return self.always
            for at, (wanted, kind) in enumerate(self.faults):
                if wanted == method:
                    del self.faults[at]
                    return kind
        return None

    def _serve(self, request):
        fault = self._next_fault(request.command)
        with self._lock:
            self.seen.append((request.command, fault or "passed"))
        length = int(request.headers.get("Content-Length") or 0)
        if fault == "cut" and request.command == "PUT":
            request.rfile.read(1000)
            self._cut(request)
            return
        chunked = "chunked" in (request.headers.get("Transfer-Encoding") or "").lower()
        body = self._chunks(request.rfile) if chunked else request.rfile.read(length)
        if fault == "503":
            text = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            request.send_response(503)
            request.send_header("Content-Length", str(len(text)))
            request.end_headers()
            request.wfile.write(text if request.command != "HEAD" else b"")
            return
        server = http.client.HTTPConnection("127.0.0.1", self.target_port, timeout=60)
        server.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            server.putheader(name, value)
        server.endheaders(body)
        answer = server.getresponse()
        content = answer.read()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                request.send_header(name, value)
        told = answer.getheader("Content-Length") if request.command == "HEAD" else str(len(content))
        request.send_header("Content-Length", told or "0")
        request.end_headers()
        if request.command == "HEAD":
            return
        if fault in ("cut", "stall"):
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
            if fault == "stall":
                time.sleep(self.stall_s)
            self._cut(request)
            return
        request.wfile.write(content)

    @staticmethod
    def _chunks(stream) -> bytes:
        """A chunked body (RFC 9112, 7.1) as it came, with its trailers."""
        raw = b""
        while True:
            line = stream.readline()
            raw += line
            size = int(line.split(b";")[0], 16)
            if size:
                raw += stream.read(size + 2)
                continue
            while (line := stream.readline()) not in (b"\r\n", b""):
                raw += line
            return raw + line

    @staticmethod
    def _cut(request):
        request.close_connection = True
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        request.connection.close()
