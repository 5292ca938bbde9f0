"""Fixtures of the tests that drive the built binary with other projects' own clients."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# Before any client is imported: no usage reports, and a failing call fails at once instead of being tried for minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")

from support.slipway_server import SlipwayServer  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for the session: each test keeps to experiments and models of its own."""
    with SlipwayServer(tmp_path_factory.mktemp("compat") / "home") as running:
        yield running


@pytest.fixture()
def client(server):
    """MLflow's client of the server, to which the fluent calls go, too; runs that a test left open are ended."""
    import mlflow

    mlflow.set_tracking_uri(server.url)
    yield mlflow.MlflowClient(server.url, server.url)
    while mlflow.active_run():
        mlflow.end_run()
