"""Rows for the data benchmarks: the flights of 2013, copied year after year, with faults planted by a fixed seed."""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import polars as pl

SEED = 20130101
KEY = ["time_hour", "carrier", "flight", "origin"]


def make(flights_csv, out, copies, faults):
    """Writes `copies` years of flights as Parquet, and returns what was planted."""
    base = pl.read_csv(flights_csv, null_values=["NA"]).with_columns(
        pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us"))
    frames = [base.with_columns(pl.col("year") + copy, pl.col("time_hour") + pl.duration(days=366 * copy))
              for copy in range(copies)]
    rows = pl.concat(frames)
    planted = {"carrier": 0, "distance": 0, "key": 0, "row": 0}
    if faults:
        rng = np.random.default_rng(SEED)
        count = rows.height
        chosen = rng.permutation(count // 2)[: count // 200]  # rows of even numbers, so that pairs stay apart
        carrier, distance, key, row = np.split(2 * chosen, [count // 1000, count * 15 // 10000, count * 25 // 10000])
        place = pl.Series(np.arange(count))
        rows = rows.with_columns(
            pl.when(place.is_in(carrier)).then(pl.lit("x?")).otherwise("carrier").alias("carrier"),
            pl.when(place.is_in(distance)).then(-pl.col("distance")).otherwise("distance").alias("distance"),
            pl.when(place.is_in(row)).then(pl.col("minute") + 1).otherwise("minute").alias("minute"))
        # a row takes the key of the one before it
        rows = rows.with_columns(
            pl.when(place.is_in(key + 1)).then(pl.col(name).shift(1)).otherwise(name).alias(name) for name in KEY)
        planted = {"carrier": len(carrier), "distance": len(distance), "key": 2 * len(key), "row": len(row)}
    rows.write_parquet(out, compression="zstd", row_group_size=122_880)
    return rows.height, planted


# A process starts with the memory peak of the one that forked it: a small one has to stand between.
LAUNCH = """
import json, os, sys, time
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
json.dump([os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_utime + usage.ru_stime,
           usage.ru_maxrss / 1024], open(sys.argv[1], "w"))
"""


def measured(command, rounds=1):
    """The best of some runs: its output, wall and processor seconds, and the largest memory of all in MiB."""
    best = None
    peak = 0.0
    with tempfile.TemporaryDirectory() as folder:
        figures = pathlib.Path(folder) / "figures.json"
        for _ in range(rounds):
            done = subprocess.run([sys.executable, "-I", "-S", "-c", LAUNCH, figures, *(str(word) for word in command)],
                                  check=True, stdout=subprocess.PIPE)
            code, wall, used, memory = json.loads(figures.read_text())
            if code not in (0, 7):  # 7: it ran, and the answer is no
                sys.exit(f"{command[0]} failed with exit code {code}")
            peak = max(peak, memory)
            if best is None or used < best[2]:
                best = (done.stdout, wall, used)
    return json.loads(best[0]), best[1], best[2], peak


def peers_python(name):
    """The Python that has the heavy peers, when it was installed; else the one that runs this."""
    own = pathlib.Path(__file__).resolve().parent.parent / ".deps" / name / "bin" / "python"
    return own if own.exists() else pathlib.Path(sys.executable)


def table(title, rows, ours):
    print(f"{title:30}{'wall s':>9}{'CPU s':>9}{'MiB':>8}{'CPU ratio':>11}  same answer")
    for name, wall, used, peak, same in rows:
        print(f"{name:30}{wall:9.2f}{used:9.2f}{peak:8.0f}{used / ours:10.2f}x  {same}")
