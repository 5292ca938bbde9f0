"""Runs one MLflow model for slipway, in a process of its own, and speaks with it over a socket (descriptor 3).

A message: two little-endian 32-bit lengths (of the JSON, of the payload), the JSON, the payload. slipway asks, this
answers; one question at a time. Version 1:
    {"op": "hello", "version": 1}                             -> {"ok": true, "version": 1, "python": "3.11.7"}
    {"op": "load", "folder": "/..."}                          -> {"ok": true}
    {"op": "predict", "rows": n, "columns": [{"name", "type", "bytes"}, ...]} and the columns, one after the other:
        float64 and int64 little-endian, boolean a byte each, timestamp int64 microseconds since 1970 UTC, text as JSON
        -> {"ok": true, "rows": n, "width": w} and n * w little-endian float64, row by row
    any: {"ok": false, "error": "..."}
Standard output belongs to the model's code; nothing it prints can disturb the protocol.
"""
import json
import os
import platform
import socket
import struct
import sys
import threading
import time

VERSION = 1


def read_exactly(connection, count):
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            sys.exit(0)  # slipway has gone
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def receive(connection):
    head, payload = struct.unpack("<II", read_exactly(connection, 8))
    return json.loads(read_exactly(connection, head)), read_exactly(connection, payload)


def send(connection, message, payload=b""):
    text = json.dumps(message).encode()
    connection.sendall(struct.pack("<II", len(text), len(payload)) + text + payload)


def frame_of(message, payload):
    import numpy
    import pandas

    columns, at = {}, 0
    for column in message["columns"]:
        data = payload[at : at + column["bytes"]]
        at += column["bytes"]
        kind = column["type"]
        if kind == "text":
            values = json.loads(data)
        elif kind == "boolean":
            values = numpy.frombuffer(data, dtype="?").copy()
        elif kind == "timestamp":
            values = numpy.frombuffer(data, dtype="<i8").astype("datetime64[us]").astype("datetime64[ns]")
        else:
            values = numpy.frombuffer(data, dtype="<f8" if kind == "float64" else "<i8").copy()
        columns[column["name"]] = values
    return pandas.DataFrame(columns)


def numbers_of(answer, rows):
    import numpy

    values = answer.to_numpy() if hasattr(answer, "to_numpy") else answer
    if isinstance(values, dict):
        if len(values) != 1:
            raise TypeError(f"the model answers with {len(values)} named outputs, one is served")
        values = next(iter(values.values()))
    array = numpy.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the model answers with {array.dtype}, numbers are served")
    array = numpy.ascontiguousarray(array, dtype="<f8").reshape(array.shape[0] if array.ndim else 1, -1)
    if array.shape[0] != rows:
        raise ValueError(f"the model answers with {array.shape[0]} rows for {rows}")
    return array


def end_with_parent():
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main():
    threading.Thread(target=end_with_parent, daemon=True).start()
    connection = socket.socket(fileno=3)
    model = None
    while True:
        message, payload = receive(connection)
        try:
            if message["op"] == "hello":
                if message["version"] != VERSION:
                    raise ValueError(f"this worker speaks version {VERSION}, not {message['version']}")
                send(connection, {"ok": True, "version": VERSION, "python": platform.python_version()})
            elif message["op"] == "load":
                import mlflow.pyfunc

                model = mlflow.pyfunc.load_model(message["folder"])
                send(connection, {"ok": True})
            elif message["op"] == "predict":
                array = numbers_of(model.predict(frame_of(message, payload)), message["rows"])
                send(connection, {"ok": True, "rows": array.shape[0], "width": array.shape[1]}, array.tobytes())
            else:
                raise ValueError(f"unknown operation {message['op']!r}")
        except MemoryError:
            send(connection, {"ok": False, "error": "no memory left within the worker's limit", "memory": True})
        except Exception as error:  # the model's own code: whatever it raises is its answer
            send(connection, {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]})


main()
