"""The feature pipeline beside scikit-learn's ColumnTransformer, on the same flights columns, in one call.

    python bench/features.py [--data DIR] [--bench FILE]

Both fit and transform the 327,346 flights that arrived, then transform one row at a time. The numbers that come out are
compared too: it is the same work. Prints a table and the ratios; exits 1 when the numbers differ.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler, TargetEncoder

ROOT = pathlib.Path(__file__).resolve().parent.parent
NUMBERS = ["sched_dep_time", "sched_arr_time", "flight", "distance", "hour", "minute", "day", "month"]
TEXTS = ["origin", "carrier", "dest", "tailnum"]


def calendar(frame):
    time_hour = frame["time_hour"].dt
    hour = time_hour.hour.to_numpy()
    dow = time_hour.dayofweek.to_numpy()
    waves = [f(2 * np.pi * part / period) for part, period in ((hour, 24), (dow, 7)) for f in (np.sin, np.cos)]
    return np.column_stack([hour, dow, time_hour.dayofyear.to_numpy(), *waves])


def transformer():
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            ("onehot", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["origin", "carrier", "month"]),
            ("bins", KBinsDiscretizer(10, encode="onehot-dense", quantile_method="linear", subsample=None), ["distance"]),
            ("calendar", FunctionTransformer(calendar), ["time_hour"]),
            ("target", TargetEncoder(smooth=20.0, cv=5, random_state=1), ["dest", "tailnum"]),
        ],
        sparse_threshold=0,
    )


def best(times, body):
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        body()
        taken.append(time.perf_counter() - start)
    return min(taken)


def measure_sklearn(folder, sample_every, sample_rows):
    flights = pd.read_csv(folder / "flights.csv", na_values=["NA"], parse_dates=["time_hour"])
    flights = flights[flights["arr_delay"].notna()].reset_index(drop=True)
    target = (flights["arr_delay"] > 15).astype(float)
    frame = flights[[*NUMBERS, *TEXTS, "time_hour"]]
    pipeline = transformer()
    fit_transform = best(3, lambda: pipeline.fit_transform(frame, target))
    matrix = pipeline.transform(frame)
    transform = best(3, lambda: pipeline.transform(frame))
    requests = [frame.iloc[[i * 16 % len(frame)]] for i in range(200)]
    rows = []
    for request in requests:
        start = time.perf_counter()
        pipeline.transform(request)
        rows.append((time.perf_counter() - start) * 1e6)
    return {
        "rows": len(frame),
        "outputs": matrix.shape[1],
        "fit_transform_s": fit_transform,
        "transform_s": transform,
        "row_p50_us": float(np.percentile(rows, 50)),
        "row_p99_us": float(np.percentile(rows, 99)),
        "sample": matrix[: sample_every * sample_rows : sample_every],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = pathlib.Path(os.environ.get("SLIPWAY_BUILD_DIR", ROOT / "build" / "release"))
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".deps" / "data" / "nycflights13")
    parser.add_argument("--bench", type=pathlib.Path, default=build / "src" / "features_bench")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    ours = json.loads(subprocess.run([options.bench, "--flights", options.data], check=True, capture_output=True).stdout)
    theirs = measure_sklearn(options.data, ours["sample_every"], len(ours["sample"]))
    print(f"features: {ours['rows']:,} rows, {ours['outputs']} outputs, {os.cpu_count()} cores; scikit-learn {sklearn.__version__}")
    print(f"{'':24}{'slipway':>12}{'scikit-learn':>14}{'ratio':>9}")
    for key, what, unit in (
        ("fit_transform_s", "fit + transform", "s"),
        ("transform_s", "transform", "s"),
        ("row_p50_us", "one row, p50", "µs"),
        ("row_p99_us", "one row, p99", "µs"),
    ):
        mine, peer = ours[key], theirs[key]
        print(f"{what + ', ' + unit:24}{mine:12.3f}{peer:14.3f}{peer / mine:8.1f}x")

    if (ours["rows"], ours["outputs"]) != (theirs["rows"], theirs["outputs"]):
        print(f"not the same work: scikit-learn has {theirs['rows']} rows and {theirs['outputs']} outputs")
        return 1
    difference = float(np.max(np.abs(np.array(ours["sample"], dtype=float) - theirs["sample"])))
    print(f"largest difference between their numbers, of {theirs['sample'].size:,}: {difference:.1e}")
    return 0 if difference < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
