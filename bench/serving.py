"""Predictions over the network, on the flights classifier (200 trees, 6 deep): processor time of the server for each request.

    python bench/serving.py [--seconds S] [--data DIR] [--slipway FILE] [--mlserver PYTHON] [--mlflow PYTHON]

In the same call: slipway over REST (JSON, binary tensors) and gRPC, with and without its prediction log; the same HTTP and
gRPC stack with an answer that computes nothing; the model in this process through XGBoost's Python and ONNX Runtime; and,
where a Python with them is named, MLServer and `mlflow models serve`. The first answer of slipway is checked against the
booster, bit for bit. The load is closed-loop; on a machine that others use, processor time is the figure that holds.
Exits 1 when an answer is wrong or a request fails.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy as np
import xgboost

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from models import flights, register  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")


def family(pid):
    """A process and its descendants."""
    found, parents = {pid}, {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def processor_seconds(pid):
    total = 0
    for member in family(pid):
        try:
            fields = pathlib.Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return total / TICK


def resident_mib(pid):
    pages = 0
    for member in family(pid):
        try:
            pages += int(pathlib.Path(f"/proc/{member}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http_request(method, path, port, body=b"", headers=()):
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Bench:
    def __init__(self, load, seconds):
        self.load, self.seconds, self.failed = load, seconds, 0

    def row(self, title, pid, requests, port, connections):
        """One line of the table: http_load against the server `pid`; microseconds of the server for a request."""
        stdin = b"".join(f"{len(each)}\n".encode() + each for each in requests * connections)
        before = processor_seconds(pid)
        done = subprocess.run(
            [self.load, str(port), str(connections), str(self.seconds), "1"], input=stdin, capture_output=True, check=True
        )
        spent = processor_seconds(pid) - before
        said = json.loads(done.stdout)
        count = max(1, said["requests"])
        self.failed += said["failed"]
        latency = {name: said[name] for name in ("p50", "p99", "p999")}
        return self.show(title, count, said["seconds"], spent, latency, said["failed"])

    @staticmethod
    def show(title, count, seconds, spent, latency, failed):
        cost = spent / count * 1e6
        times = " / ".join(f"{latency[name]:.3f}" for name in latency)
        print(f"{title:46}{count / seconds:>10,.0f}{cost:>12.1f}   {times}{'   FAILED ' + str(failed) if failed else ''}", flush=True)
        return cost

    def grpc_row(self, title, pid, port, method, message, threads):
        import grpc

        def work(until):
            latencies = []
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                call = channel.unary_unary(method)
                while time.perf_counter() < until:
                    began = time.perf_counter()
                    call(message)
                    latencies.append(time.perf_counter() - began)
            return latencies

        before, began = processor_seconds(pid), time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            latencies = sorted(sum(pool.map(work, [began + self.seconds] * threads), []))
        spent, took = processor_seconds(pid) - before, time.perf_counter() - began
        at = lambda share: latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000  # noqa: E731
        return self.show(title, len(latencies), took, spent, {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999)}, 0)


def json_body(frame, rows):
    part = frame.iloc[:rows]
    inputs = [
        {"name": name, "shape": [rows], "datatype": "FP64", "data": [None if np.isnan(v) else float(v) for v in part[name]]}
        for name in part
    ]
    return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


def binary_body(frame, rows):
    part, raw, inputs = frame.iloc[:rows], b"", []
    for name in part:
        tensor = part[name].to_numpy("float64").tobytes()
        raw += tensor
        inputs.append({"name": name, "shape": [rows], "datatype": "FP64", "parameters": {"binary_data_size": len(tensor)}})
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}, separators=(",", ":")).encode()
    return head + raw, (f"Inference-Header-Content-Length: {len(head)}",)


def grpc_message(frame, rows):
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest(model_name="flights")
    for name in frame:
        message.inputs.add(name=name, datatype="FP64", shape=[rows])
        message.raw_input_contents.append(frame[name].iloc[:rows].to_numpy("float64").tobytes())
    return message.SerializeToString()


def wait_for(url, patience=120):
    until = time.perf_counter() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (OSError, TimeoutError):
            if time.perf_counter() > until:
                raise
            time.sleep(0.05)


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def slipway_rows(bench, slipway, home, frame, want):
    port, grpc_port = free_port(), free_port()
    server = subprocess.Popen(
        [slipway, "--home", home, "up", "--port", str(port), "--grpc-port", str(grpc_port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    costs = {}
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/models/flights/ready")
        path = "/v2/models/flights/infer"
        one = json_body(frame, 1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=one, timeout=10) as answer:
            got = next(o for o in json.load(answer)["outputs"] if o["name"] == "probability")["data"][0]
        right = got == float(want)
        infer = lambda body, headers=(): http_request("POST", path, port, body, headers)  # noqa: E731
        empty = http_request("GET", "/v2/health/live", port, b"", (f"X-Padding: {'x' * max(0, len(one) - 60)}",))
        for log in ("durable", "off"):
            urllib.request.urlopen(
                urllib.request.Request(
                    f"http://127.0.0.1:{port}/api/v1/deployments/flights", method="PATCH",
                    data=json.dumps({"log": log}).encode(), headers={"Content-Type": "application/json"},
                ), timeout=10,
            ).close()
            time.sleep(0.5)
            name = f"log {log}"
            for connections in (1, 8, 64):
                costs[log, "json", connections] = bench.row(
                    f"slipway REST JSON, 1 row, {connections} conn., {name}", server.pid, [infer(one)], port, connections)
            bench.row(f"slipway REST JSON, 32 rows, 8 conn., {name}", server.pid, [infer(json_body(frame, 32))], port, 8)
            bench.row(f"slipway REST binary, 32 rows, 8 conn., {name}", server.pid, [infer(*binary_body(frame, 32))], port, 8)
            costs[log, "grpc"] = bench.grpc_row(
                f"slipway gRPC raw, 1 row, 8 threads, {name}", server.pid, grpc_port,
                "/inference.GRPCInferenceService/ModelInfer", grpc_message(frame, 1), 8)
        empty_cost = bench.row("slipway empty HTTP answer, 8 conn.", server.pid, [empty], port, 8)
        bench.grpc_row("slipway empty gRPC answer, 8 threads", server.pid, grpc_port,
                       "/inference.GRPCInferenceService/ServerLive", b"", 8)
        print(f"one row over REST is {costs['off', 'json', 8] / empty_cost:.1f} empty answers; "
              f"{resident_mib(server.pid):.0f} MiB; the answer is the booster's: {right}")
        return right
    finally:
        end(server)


def in_process(booster, frame, model_onnx):
    row = frame.iloc[:1].to_numpy("float32")

    def timed(call):
        for _ in range(50):
            call()
        began, count = time.process_time(), 0
        while time.process_time() - began < 0.5:
            call()
            count += 1
        return (time.process_time() - began) / count * 1e6

    booster.set_param({"nthread": 1})
    print(f"{'in this process: XGBoost inplace_predict':46}{'':>10}{timed(lambda: booster.inplace_predict(row)):>12.1f}")
    if model_onnx is not None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model_onnx, options, providers=["CPUExecutionProvider"])
        print(f"{'in this process: ONNX Runtime':46}{'':>10}{timed(lambda: session.run(None, {'x': row})):>12.1f}")


def mlserver_rows(bench, python, work, frame):
    folder = work / "mlserver"
    folder.mkdir()
    port, ports = free_port(), [free_port(), free_port()]
    (folder / "settings.json").write_text(json.dumps(
        {"http_port": port, "grpc_port": ports[0], "metrics_port": ports[1], "parallel_workers": 0, "host": "127.0.0.1"}))
    (folder / "model-settings.json").write_text(json.dumps(
        {"name": "flights", "implementation": "mlserver_xgboost.XGBoostModel", "parameters": {"uri": str(work / "model.ubj")}}))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([python, "-m", "mlserver.cli.main", "start", str(folder)], env=environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/models/flights/ready")
        values = frame.iloc[:1].to_numpy("float64").ravel().tolist()
        body = json.dumps({"inputs": [{"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": values}]}).encode()
        request = http_request("POST", "/v2/models/flights/infer", port, body, ("Content-Type: application/json",))
        for connections in (1, 8):
            bench.row(f"MLServer REST JSON, 1 row, {connections} conn.", server.pid, [request], port, connections)
    finally:
        end(server)


def mlflow_rows(bench, python, folder, frame):
    port = free_port()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([python, "-m", "mlflow", "models", "serve", "-m", str(folder), "-p", str(port), "--env-manager", "local"],
                              env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/ping")
        part = frame.iloc[:1]
        body = json.dumps({"dataframe_split": {"columns": list(part), "data": part.to_numpy("float64").tolist()}}).encode()
        request = http_request("POST", "/invocations", port, body, ("Content-Type: application/json",))
        for connections in (1, 8):
            bench.row(f"mlflow models serve, 1 row, {connections} conn.", server.pid, [request], port, connections)
    finally:
        end(server)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".deps/data/nycflights13")
    parser.add_argument("--slipway", type=pathlib.Path, default=ROOT / "build/release/bin/slipway")
    parser.add_argument("--mlserver", help="a Python that has mlserver and mlserver-xgboost")
    parser.add_argument("--mlflow", help="a Python that has mlflow and xgboost")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    frame, label = flights(options.data)
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 6, "eta": 0.1, "tree_method": "hist", "seed": 1}, xgboost.DMatrix(frame, label), 200
    )
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        booster.save_model(work / "model.ubj")
        logged = work / "logged"
        logged.mkdir()
        booster.save_model(logged / "model.ubj")
        columns = json.dumps([{"type": "double", "name": name} for name in frame])
        (logged / "MLmodel").write_text(
            "flavors: {xgboost: {data: model.ubj, model_format: ubj, model_class: xgboost.core.Booster},\n"
            "          python_function: {loader_module: mlflow.xgboost, data: model.ubj}}\n"
            f"signature: {{inputs: '{columns}'}}\n")
        load = work / "http_load"
        subprocess.run(["g++", "-std=c++20", "-O2", "-o", load, ROOT / "bench/http_load.cpp"], check=True)
        model_onnx = None
        try:
            from onnxmltools import convert_xgboost
            from onnxmltools.convert.common.data_types import FloatTensorType

            nameless = xgboost.Booster(model_file=work / "model.ubj")
            nameless.feature_names = [f"f{k}" for k in range(frame.shape[1])]
            model_onnx = convert_xgboost(nameless, initial_types=[("x", FloatTensorType([None, frame.shape[1]]))]).SerializeToString()
        except ImportError:
            print("without onnxmltools there is no ONNX model to compare with")
        register(options.slipway, work / "home", logged)
        bench = Bench(load, options.seconds)
        print(f"{'':46}{'requests/s':>10}{'cpu us/req':>12}   p50 / p99 / p99.9 ms")
        good = slipway_rows(bench, options.slipway, work / "home", frame, booster.predict(xgboost.DMatrix(frame[:1]))[0])
        in_process(booster, frame, model_onnx)
        if options.mlserver:
            mlserver_rows(bench, options.mlserver, work, frame)
        if options.mlflow:
            mlflow_rows(bench, options.mlflow, logged, frame)
    sys.exit(0 if good and bench.failed == 0 else 1)


if __name__ == "__main__":
    main()
