"""The feature pipeline beside scikit-learn's ColumnTransformer and beside polars by hand, on the same flights, in one call.

    python bench/features.py [--data DIR] [--bench FILE]

All fit and transform the 327,346 flights that arrived into 108 columns, then transform one row at a time. The numbers
that come out are compared too: it is the same work; and slipway's single rows are compared with its batch, bit for bit.
Prints a table and the ratios; exits 1 when numbers or bits differ.
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
import polars as pl
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction import FeatureHasher
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler, TargetEncoder

ROOT = pathlib.Path(__file__).resolve().parent.parent
NUMBERS = ["sched_dep_time", "sched_arr_time", "flight", "distance", "hour", "minute", "day", "month"]
TEXTS = ["origin", "carrier", "dest", "tailnum"]
BUCKETS = 50
BAR_FIT, BAR_ROW = 0.25, 2.0  # seconds, microseconds


def calendar(frame):
    time_hour = frame["time_hour"].dt
    hour = time_hour.hour.to_numpy()
    dow = time_hour.dayofweek.to_numpy()
    waves = [f(2 * np.pi * part / period) for part, period in ((hour, 24), (dow, 7)) for f in (np.sin, np.cos)]
    return np.column_stack([hour, dow, time_hour.dayofyear.to_numpy(), *waves])


def hashed(frame):
    return FeatureHasher(BUCKETS, input_type="string").transform([[text] for text in frame["tailnum"]]).toarray()


def transformer():
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            ("onehot", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["origin", "carrier", "month"]),
            ("bins", KBinsDiscretizer(10, encode="onehot-dense", quantile_method="linear", subsample=None), ["distance"]),
            ("calendar", FunctionTransformer(calendar), ["time_hour"]),
            ("target", TargetEncoder(smooth=20.0, cv=5, random_state=1), ["dest", "tailnum"]),
            ("hash", FunctionTransformer(hashed), ["tailnum"]),
        ],
        sparse_threshold=0,
    )


class ByHand:
    """The same with polars' expressions: what a careful person writes."""

    def fit(self, frame, folds=None):
        exact = frame.select(
            [pl.col(c).cast(pl.Float64).median().alias(c + "|median") for c in NUMBERS]
            + [pl.col("distance").quantile(q / 10, "linear").alias(f"q{q}") for q in range(1, 10)]
            + [pl.col("late").mean().alias("prior")]
        ).row(0, named=True)
        filled = {c: pl.col(c).cast(pl.Float64).fill_null(exact[c + "|median"]) for c in NUMBERS}
        scale = frame.select(
            [e.mean().alias(c + "|mean") for c, e in filled.items()] + [e.std(ddof=0).alias(c + "|std") for c, e in filled.items()]
        ).row(0, named=True)
        edges = [exact[f"q{q}"] for q in range(1, 10)]
        prior = exact["prior"]
        expressions = [((e - scale[c + "|mean"]) / scale[c + "|std"]).cast(pl.Float32).alias(c) for c, e in filled.items()]
        for column in ("origin", "carrier", "month"):
            for value in frame[column].unique().sort():
                expressions.append((pl.col(column) == value).cast(pl.Float32).alias(f"{column}={value}"))
        bin_of = sum(((pl.col("distance") >= edge).cast(pl.Int8) for edge in edges), pl.lit(0, pl.Int8))
        expressions += [(bin_of == b).cast(pl.Float32).alias(f"bin{b}") for b in range(10)]
        moment = pl.col("time_hour").dt
        hour, dow = moment.hour().cast(pl.Float64), moment.weekday().cast(pl.Float64) - 1
        expressions += [hour.cast(pl.Float32).alias("h"), dow.cast(pl.Float32).alias("dow"), moment.ordinal_day().cast(pl.Float32).alias("doy")]
        for name, part, period in (("h", hour, 24), ("dow", dow, 7)):
            angle = part * (2 * np.pi / period)
            expressions += [angle.sin().cast(pl.Float32).alias(name + "_sin"), angle.cos().cast(pl.Float32).alias(name + "_cos")]
        self.expressions = expressions
        self.tables, self.prior = {}, prior
        for column in ("dest", "tailnum"):
            self.tables[column] = frame.group_by(column).agg(
                ((pl.col("late").sum() + 20 * prior) / (pl.len() + 20)).cast(pl.Float32).alias(column + "|target")
            )
        texts = frame["tailnum"].unique()
        matrix = FeatureHasher(BUCKETS, input_type="string").transform([[text] for text in texts])
        coo = matrix.tocoo()
        where = np.zeros(len(texts), dtype=np.int16)
        sign = np.zeros(len(texts), dtype=np.float32)
        where[coo.row], sign[coo.row] = coo.col, coo.data
        self.buckets = pl.DataFrame({"tailnum": texts, "bucket": where, "sign": sign})
        return self

    def transform(self, frame):
        joined = frame
        for column, table in self.tables.items():
            joined = joined.join(table, on=column, how="left", maintain_order="left")
        joined = joined.join(self.buckets, on="tailnum", how="left", maintain_order="left")
        targets = [pl.col(c + "|target").fill_null(self.prior) for c in self.tables]
        hashes = [
            pl.when(pl.col("bucket") == b).then(pl.col("sign")).otherwise(pl.lit(0, pl.Float32)).alias(f"hash{b}") for b in range(BUCKETS)
        ]
        return joined.select(self.expressions + targets + hashes).to_numpy(order="c")

    def fit_transform(self, frame):
        """Out of fold for the target encodings, as the others: a table per fold."""
        self.fit(frame)
        frame = frame.with_columns(fold=pl.int_range(pl.len()).shuffle(1) % 5)
        matrix = self.transform(frame).copy()
        at = matrix.shape[1] - BUCKETS - 2
        for i, column in enumerate(self.tables):
            per = frame.group_by(column, "fold").agg(pl.col("late").sum().alias("s"), pl.len().alias("n"))
            whole = per.group_by(column).agg(pl.col("s").sum().alias("S"), pl.col("n").sum().alias("N"))
            folds = frame.group_by("fold").agg(pl.col("late").sum().alias("fs"), pl.len().alias("fn"))
            total, rows = frame["late"].sum(), len(frame)
            table = per.join(whole, on=column).join(folds, on="fold").select(
                column,
                "fold",
                (
                    (pl.col("S") - pl.col("s") + 20 * (total - pl.col("fs")) / (rows - pl.col("fn"))) / (pl.col("N") - pl.col("n") + 20)
                ).cast(pl.Float32).alias("t"),
            )
            matrix[:, at + i] = frame.join(table, on=[column, "fold"], how="left", maintain_order="left")["t"].to_numpy()
        return matrix


def best(times, body):
    wall, cpu = [], []
    for _ in range(times):
        start, spent = time.perf_counter(), time.process_time()
        body()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
    return min(wall), min(cpu)


def measure(name, frame, fit_transform, transform, requests, sample):
    fit_wall, fit_cpu = best(3, fit_transform)
    matrix = transform(frame)
    wall, cpu = best(3, lambda: transform(frame))
    rows = []
    for request in requests:
        start = time.perf_counter()
        transform(request)
        rows.append((time.perf_counter() - start) * 1e6)
    return {
        "name": name,
        "rows": len(frame),
        "outputs": matrix.shape[1],
        "fit_transform_s": fit_wall,
        "fit_transform_cpu_s": fit_cpu,
        "transform_s": wall,
        "transform_cpu_s": cpu,
        "row_p50_us": float(np.percentile(rows, 50)),
        "row_p99_us": float(np.percentile(rows, 99)),
        "sample": matrix[sample],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = pathlib.Path(os.environ.get("SLIPWAY_BUILD_DIR", ROOT / "build" / "release"))
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".deps" / "data" / "nycflights13")
    parser.add_argument("--bench", type=pathlib.Path, default=build / "src" / "features_bench")
    parser.add_argument("--rows", type=int, default=1_000_000, help="odd rows to compare bit by bit")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    ours = json.loads(subprocess.run([options.bench, "--flights", options.data], check=True, capture_output=True).stdout)
    sample = slice(0, ours["sample_every"] * len(ours["sample"]), ours["sample_every"])

    flights = pd.read_csv(options.data / "flights.csv", na_values=["NA"], parse_dates=["time_hour"])
    flights = flights[flights["arr_delay"].notna()].reset_index(drop=True)
    target = (flights["arr_delay"] > 15).astype(float)
    frame = flights[[*NUMBERS, *TEXTS, "time_hour"]]
    pipeline = transformer()
    sk = measure(
        "scikit-learn",
        frame,
        lambda: pipeline.fit_transform(frame, target),
        pipeline.transform,
        [frame.iloc[[i * 16 % len(frame)]] for i in range(200)],
        sample,
    )
    table = pl.from_pandas(frame).with_columns(pl.Series("late", target.to_numpy()))
    hand = ByHand()
    by_hand = measure(
        "polars",
        table,
        lambda: hand.fit_transform(table),
        hand.transform,
        [table[i * 16 % len(table)] for i in range(200)],
        sample,
    )

    print(
        f"features: {ours['rows']:,} rows, {ours['outputs']} outputs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"scikit-learn {sklearn.__version__}, polars {pl.__version__}"
    )
    print(f"{'':26}{'slipway':>10}{'scikit-learn':>14}{'polars':>10}{'ratio':>9}{'ratio':>9}")
    for key, what in (
        ("fit_transform_s", "fit + transform, s"),
        ("fit_transform_cpu_s", "  processor seconds"),
        ("transform_s", "transform, s"),
        ("transform_cpu_s", "  processor seconds"),
        ("row_p50_us", "one row, p50, µs"),
        ("row_p99_us", "one row, p99, µs"),
    ):
        mine = ours[key]
        print(f"{what:26}{mine:10.3f}{sk[key]:14.3f}{by_hand[key]:10.3f}{sk[key] / mine:8.1f}x{by_hand[key] / mine:8.1f}x")
    for what, mine, bar, unit in (
        ("fit + transform", ours["fit_transform_s"], BAR_FIT, "s"),
        ("one row, p50", ours["row_p50_us"], BAR_ROW, "µs"),
    ):
        print(f"{what}: {mine:.3f} {unit}, to reach {bar} {unit}: {'reached' if mine < bar else 'MISSED'}")

    failed = False
    if ours["rows_with_other_bits_alone"] > 0:
        print(f"{ours['rows_with_other_bits_alone']} rows have other bits alone than in the batch")
        failed = True
    else:
        print(f"each of the {ours['rows']:,} rows has the same bits alone as in the batch")
    odd = json.loads(subprocess.run([options.bench, "--rows", str(options.rows)], check=True, capture_output=True).stdout)
    print(
        f"{odd['rows']:,} odd rows through every transform ({odd['outputs']} outputs) by batch, by row, in odd batch sizes, on 1, 2 and "
        f"5 threads: {odd['different']} differ, {odd['infinite']} infinite"
    )
    failed = failed or odd["different"] > 0 or odd["infinite"] > 0
    mine = np.array(ours["sample"], dtype=float)
    for peer in (sk, by_hand):
        if (ours["rows"], ours["outputs"]) != (peer["rows"], peer["outputs"]):
            print(f"not the same work: {peer['name']} has {peer['rows']} rows and {peer['outputs']} outputs")
            failed = True
            continue
        difference = float(np.max(np.abs(mine - peer["sample"])))
        print(f"largest difference from {peer['name']}'s numbers, of {mine.size:,}: {difference:.1e}")
        failed = failed or difference >= 1e-4
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
