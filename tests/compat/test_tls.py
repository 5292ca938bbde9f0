"""TLS, and the names a server may be called by."""

import datetime
import ipaddress
import signal
import socket
import ssl
import time

import mlflow
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mlflow import MlflowClient

from support.slipway_server import SlipwayServer


def certificate(folder, common_name: str = "slipway test"):
    """A self-signed certificate for 127.0.0.1 and localhost, with its key, as two PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / "key.pem").chmod(0o600)
    return folder / "cert.pem", folder / "key.pem"


class TlsServer(SlipwayServer):
    def __init__(self, home, cert, key, args=()):
        super().__init__(home, args=("--tls-cert", str(cert), "--tls-key", str(key), *args))
        self.url = f"https://127.0.0.1:{self.port}"
        self.cert = cert

    def _healthy(self) -> bool:
        try:
            return requests.get(self.url + "/health", verify=str(self.cert), timeout=5).status_code == 200
        except (requests.exceptions.RequestException, OSError):
            return False


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    with TlsServer(folder / "home", *certificate(folder)) as server:
        yield server


def served_name(server) -> str:
    """The common name in the certificate that new connections get."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain, context.wrap_socket(plain) as wrapped:
        made = x509.load_der_x509_certificate(wrapped.getpeercert(binary_form=True))
    return made.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value


class TestTls:
    def test_the_mlflow_client_works(self, tls, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tls.cert))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.cert))  # parts are sent without the client's own settings
        mlflow.set_tracking_uri(tls.url)
        client = MlflowClient(tls.url)
        run = client.create_run("0")
        client.log_metric(run.info.run_id, "auc", 0.5)
        data = bytes(range(256)) * 40_000
        (tmp_path / "a.bin").write_bytes(data)
        client.log_artifact(run.info.run_id, str(tmp_path / "a.bin"))
        assert client.get_run(run.info.run_id).data.metrics == {"auc": 0.5}
        (tmp_path / "down").mkdir()
        got = client.download_artifacts(run.info.run_id, "a.bin", str(tmp_path / "down"))
        assert open(got, "rb").read() == data
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 * 1024 * 1024))
        client.log_artifact(run.info.run_id, str(tmp_path / "a.bin"), "parts")
        assert [f.file_size for f in client.list_artifacts(run.info.run_id, "parts")] == [len(data)]

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_versions_that_are_spoken(self, tls, version):
        context = ssl.create_default_context(cafile=str(tls.cert))
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", tls.port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                wrapped.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert wrapped.recv(65536).startswith(b"HTTP/1.1 200")

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_older_versions_are_refused(self, tls):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", tls.port), timeout=10) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain)

    def test_a_caller_without_tls_is_told(self, tls):
        answer = requests.get(f"http://127.0.0.1:{tls.port}/health", timeout=10)
        assert answer.status_code == 400
        assert "https" in answer.text

    def test_slow_and_broken_handshakes_hold_nobody_up(self, tls):
        waiting = [socket.create_connection(("127.0.0.1", tls.port), timeout=10) for _ in range(20)]
        for connection in waiting[:10]:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        for connection in waiting[10:]:
            connection.sendall(b"\x16\x03\xff\xff garbage")
        assert requests.get(tls.url + "/health", verify=str(tls.cert), timeout=10).status_code == 200
        for connection in waiting:
            connection.close()

    def test_a_new_certificate_is_read_on_sighup(self, tmp_path):
        with TlsServer(tmp_path / "home", *certificate(tmp_path, "first")) as server:
            assert served_name(server) == "first"
            certificate(tmp_path, "second")
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while served_name(server) != "second":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            (tmp_path / "cert.pem").write_text("nonsense")
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while "the old TLS certificate stays" not in server.log():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert served_name(server) == "second"

    def test_what_cannot_be_used_is_named(self, tmp_path):
        cert, key = certificate(tmp_path)
        (tmp_path / "other").mkdir()
        _, other_key = certificate(tmp_path / "other")
        (tmp_path / "nonsense").write_text("nonsense")
        rows = [
            (tmp_path / "nobody", key, "nobody"),
            (cert, tmp_path / "nobody", "nobody"),
            (tmp_path / "nonsense", key, "no certificate in PEM"),
            (cert, tmp_path / "nonsense", "no private key"),
            (cert, other_key, "does not belong"),
        ]
        for number, (this_cert, this_key, message) in enumerate(rows):
            with pytest.raises(AssertionError, match=message):
                TlsServer(tmp_path / f"home{number}", this_cert, this_key).start()


class TestNames:
    """Pages of other sites can make a browser send requests here."""

    ROWS = [
        # host, origin, other header, allowed to read, allowed to change
        ("localhost:{port}", None, {}, 200, 200),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", {}, 200, 200),
        ("LocalHost", "http://localhost", {}, 200, 200),
        ("models.example.org", None, {}, 200, 200),
        ("models.example.org:{port}", "http://models.example.org:{port}", {}, 200, 200),
        ("localhost:{port}", "null", {}, 200, 403),
        ("localhost:{port}", "http://evil.example", {}, 200, 403),
        ("localhost:{port}", "http://localhost:1", {}, 200, 403),
        ("localhost:{port}", "http://127.0.0.1:{port}", {}, 200, 403),
        ("localhost:{port}", "http://localhost.evil.example:{port}", {}, 200, 403),
        ("localhost:{port}", None, {"Sec-Fetch-Site": "cross-site"}, 200, 403),
        ("localhost:{port}", None, {"Sec-Fetch-Site": "same-origin"}, 200, 200),
        ("evil.example", None, {}, 403, 403),
        ("localhost.evil.example", None, {}, 403, 403),
        ("192.0.2.7", None, {}, 403, 403),
        ("evil.example", "http://evil.example", {}, 403, 403),
    ]

    def test_hosts_and_origins(self, tmp_path):
        with SlipwayServer(tmp_path / "home", args=("--host-name", "models.example.org")) as server:
            for host, origin, more, read, change in self.ROWS:
                headers = {"Host": host.format(port=server.port), **more}
                if origin:
                    headers["Origin"] = origin.format(port=server.port)
                get = requests.get(server.url + "/api/2.0/mlflow/experiments/get?experiment_id=0", headers=headers, timeout=10)
                assert get.status_code == read, headers
                post = requests.post(server.url + "/api/2.0/mlflow/experiments/search", json={"max_results": 1},
                                     headers=headers, timeout=10)  # fmt: skip
                assert post.status_code == change, headers
                put = requests.put(server.url + "/api/2.0/mlflow-artifacts/artifacts/0/x", data=b"x", headers=headers, timeout=10)
                assert put.status_code == change, headers
