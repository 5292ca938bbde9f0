"""Models in this process, beside the libraries, on the flights classifier (200 trees, 6 deep).

    python bench/models.py [--data DIR] [--bench FILE] [--slipway FILE]

1. One row and many rows through the trees: our walk, XGBoost's C API, ONNX Runtime (build/release/src/models_bench).
2. A Parquet file of flights into a Parquet file with their scores: `slipway predict`, and pandas with XGBoost's own Python, on
   the same cores, alternating. The scores are compared bit for bit.
3. From `slipway up` to the first right prediction over HTTP, and the server's memory then.
Prints tables and ratios; exits 1 when a number is wrong.
"""

import argparse
import json
import os
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings

import numpy as np
import pandas as pd
import xgboost

warnings.filterwarnings("ignore")
ROOT = pathlib.Path(__file__).resolve().parent.parent
CATEGORIES = ["carrier", "origin", "dest", "tailnum"]
NUMBERS = ["month", "day", "sched_dep_time", "dep_time", "dep_delay", "sched_arr_time", "flight", "distance", "hour", "minute"]
PEER = """
import sys, pandas as pd, xgboost
frame = pd.read_parquet(sys.argv[2])
booster = xgboost.Booster(model_file=sys.argv[1])
frame["score"] = booster.predict(xgboost.DMatrix(frame[booster.feature_names])).astype("float64")
frame.to_parquet(sys.argv[3], index=False)
"""


def flights(folder):
    frame = pd.read_csv(folder / "flights.csv")
    frame = frame[frame.arr_delay.notna()].reset_index(drop=True)
    label = (frame.arr_delay > 15).astype(int)
    out = frame[NUMBERS].astype(float)
    for name in CATEGORIES:
        out[name] = frame[name].astype("category").cat.codes.astype(float)
    return out, label


def seconds_of(command, **options):
    """Wall clock and processor time of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def walkers(bench, folder):
    environment = os.environ | {"SLIPWAY_BENCH_FOLDER": str(folder), "OMP_NUM_THREADS": "1"}
    text = subprocess.run(
        [bench, "--benchmark_format=json", "--benchmark_min_time=0.5", "--benchmark_filter=^(walk|library|onnx)/"],
        check=True, capture_output=True, text=True, env=environment,
    ).stdout
    times = {each["name"]: each["cpu_time"] / 1000 for each in json.loads(text)["benchmarks"]}
    print(f"{'processor time a row, us':28}{'1 row':>10}{'32 rows':>10}{'1,024 rows':>12}")
    for name, title in (("walk", "slipway"), ("library", "XGBoost C API"), ("onnx", "ONNX Runtime")):
        cells = [times[f"{name}/{rows}"] / rows for rows in (1, 32, 1024) if f"{name}/{rows}" in times]
        print(f"{title:28}" + "".join(f"{cell:>{width}.2f}" for cell, width in zip(cells, (10, 10, 12))))


def batches(slipway, home, model, work, rows, repeats):
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(seconds_of([slipway, "--home", home, "predict", "flights", rows, work / "ours.parquet"]))
        theirs.append(seconds_of([sys.executable, "-c", PEER, model, rows, work / "theirs.parquet"]))
    left, right = pd.read_parquet(work / "ours.parquet"), pd.read_parquet(work / "theirs.parquet")
    same = (left.score.to_numpy() == right.score.to_numpy()).all() and left.drop(columns="score").equals(right.drop(columns="score"))
    print(f"\n{'Parquet to Parquet, ' + format(len(left), ',') + ' rows':36}{'seconds':>9}{'processor':>11}{'rows/s':>12}")
    for title, runs in (("slipway predict", ours), ("pandas + XGBoost in Python", theirs)):
        wall, cpu = (statistics.median(run[k] for run in runs) for k in (0, 1))
        print(f"{title:36}{wall:>9.2f}{cpu:>11.2f}{len(left) / wall:>12,.0f}")
    wall, cpu = (statistics.median(t[k] for t in theirs) / statistics.median(o[k] for o in ours) for k in (0, 1))
    print(f"ratio: {wall:.1f} by the clock, {cpu:.1f} by processor time; the same rows and bits: {same}")
    return same


def first_prediction(slipway, home, frame, want):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    row = frame.iloc[:1]
    inputs = [{"name": n, "shape": [1], "datatype": "FP64", "data": [None if pd.isna(row[n][0]) else float(row[n][0])]} for n in row]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/flights/infer", data=json.dumps({"inputs": inputs}).encode())
    started = time.perf_counter()
    server = subprocess.Popen([slipway, "--home", home, "up", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    got = next(o for o in json.load(answer)["outputs"] if o["name"] == "probability")["data"][0]
                break
            except (urllib.error.URLError, ConnectionError):
                if time.perf_counter() - started > 30:
                    raise
                time.sleep(0.002)
        taken = time.perf_counter() - started
        status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
        memory = int(status.split("VmRSS:")[1].split()[0]) / 1024
    finally:
        server.terminate()
        server.wait()
    print(f"from start to the first right prediction: {taken * 1000:.0f} ms; {memory:.0f} MiB; right: {got == float(want)}")
    return got == float(want)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".deps/data/nycflights13")
    parser.add_argument("--bench", type=pathlib.Path, default=ROOT / "build/release/src/models_bench")
    parser.add_argument("--slipway", type=pathlib.Path, default=ROOT / "build/release/bin/slipway")
    parser.add_argument("--copies", type=int, default=6, help="of the flights in the batch")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    frame, label = flights(options.data)
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 6, "eta": 0.1, "tree_method": "hist", "seed": 1}, xgboost.DMatrix(frame, label), 200
    )
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        booster.save_model(work / "model.ubj")
        (work / "bench/xgboost").mkdir(parents=True)
        booster.save_model(work / "bench/xgboost/model.ubj")
        columns = json.dumps([{"type": "double", "name": name} for name in frame])
        signature = f"signature: {{inputs: '{columns}'}}\n"
        (work / "bench/xgboost/MLmodel").write_text("flavors: {xgboost: {data: model.ubj}}\n" + signature)
        try:
            from onnxmltools import convert_xgboost
            from onnxmltools.convert.common.data_types import FloatTensorType

            nameless = xgboost.Booster(model_file=work / "model.ubj")
            nameless.feature_names = [f"f{k}" for k in range(frame.shape[1])]
            converted = convert_xgboost(nameless, initial_types=[("x", FloatTensorType([None, frame.shape[1]]))])
            (work / "bench/onnx").mkdir()
            (work / "bench/onnx/model.onnx").write_bytes(converted.SerializeToString())
            (work / "bench/onnx/MLmodel").write_text("flavors: {onnx: {data: model.onnx}}\n" + signature)
        except ImportError:
            print("without onnxmltools there is no ONNX model to compare with")
        frame[:20_000].to_numpy("float32").tofile(work / "bench/rows.f32")
        if options.bench.exists():
            walkers(options.bench, work / "bench")
        home = work / "home"
        register(options.slipway, home, work / "bench/xgboost")
        many = pd.concat([frame] * options.copies, ignore_index=True)
        many.to_parquet(work / "rows.parquet", index=False)
        good &= batches(options.slipway, home, work / "model.ubj", work, work / "rows.parquet", options.repeats)
        want = booster.predict(xgboost.DMatrix(frame[:1]))[0]
        for _ in range(3):
            good &= first_prediction(options.slipway, home, frame, want)
    sys.exit(0 if good else 1)


def call(url, body, method="POST"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data, method=method), timeout=30) as answer:
        return answer.read()


def register(slipway, home, folder):
    """The logged model as version 1 of `flights`, deployed, by a server that ends again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([slipway, "--home", home, "up", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                urllib.request.urlopen(url + "/health", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        for file in folder.iterdir():
            call(f"{url}/api/2.0/mlflow-artifacts/artifacts/bench/{file.name}", file.read_bytes(), "PUT")
        mlflow = url + "/api/2.0/mlflow/"
        call(mlflow + "registered-models/create", {"name": "flights"})
        call(mlflow + "model-versions/create", {"name": "flights", "source": "mlflow-artifacts:/bench"})
        call(mlflow + "registered-models/alias", {"name": "flights", "alias": "champion", "version": "1"})
        pipeline = home.parent / "deploy.yaml"
        pipeline.write_text("name: deploy\nsteps:\n  deploy: {deploy: {name: flights, model: flights}}\n")
        subprocess.run([slipway, "--home", home, "run", pipeline], check=True, capture_output=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
