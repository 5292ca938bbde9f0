"""MLflow's own client for users, without MLflow's server.

It lives in the package of the server, whose import wants Flask and a database. The client itself needs three functions
that make paths, so it is loaded with these in their place.
"""

import importlib
import pathlib
import sys
import types
from unittest import mock

import mlflow


def _package(name: str) -> types.ModuleType:
    package = types.ModuleType(name)
    package.__path__ = [str(pathlib.Path(mlflow.__file__).parent.joinpath(*name.split(".")[1:]))]
    return package


def _load():
    handlers = types.ModuleType("mlflow.server.handlers")
    handlers._get_rest_path = lambda path, version=2: f"/api/{version}.0{path}"
    handlers._get_ajax_path = lambda path, version=2: f"/ajax-api/{version}.0{path}"
    handlers._add_static_prefix = lambda path: path
    standing_in = {
        "mlflow.server": _package("mlflow.server"),
        "mlflow.server.auth": _package("mlflow.server.auth"),
        "mlflow.server.handlers": handlers,
    }
    with mock.patch.dict(sys.modules, standing_in):
        return importlib.import_module("mlflow.server.auth.client").AuthServiceClient


AuthServiceClient = _load()
