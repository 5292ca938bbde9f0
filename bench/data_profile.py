#!/usr/bin/env python3
"""A full profile of ten years of flights (3.37 million rows, 19 columns), by slipway and by its peers.

DuckDB (SUMMARIZE and SQL for the rest), polars (exact), whylogs and ydata-profiling (minimal) run in the same call, each as
a process of its own. Counts and nulls have to be equal to polars', distinct values and medians within the sketches' bounds:
HyperLogLog 0.8 % (four of those), KLL 0.5 % of the rank. --peers chooses; what is not installed is left out. Heavy ones:
bench/requirements-profile-peers.txt, which ./dev bench installs into .deps/profile-peers-venv.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import peer_rows
import polars as pl

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODULES = {"duckdb": "duckdb", "polars": "polars", "whylogs": "whylogs", "ydata": "ydata_profiling"}
VENVS = {"duckdb": "data-peers-venv", "polars": "data-peers-venv", "whylogs": "profile-peers-venv", "ydata": "profile-peers-venv"}


def wrong_figures(profile, rows):
    """What in slipway's profile is further from the exact values than its sketches may be."""
    frame = pl.read_parquet(rows)
    wrong = []
    for column in profile["columns"]:
        values = frame[column["name"]]
        name = column["name"]
        if column["rows"] != values.len() or column["nulls"] != values.null_count():
            wrong.append(f"{name}: rows or nulls")
        distinct = values.drop_nulls().n_unique()
        if abs(column["distinct"] - distinct) > (0 if column["distinct_exact"] else 0.033 * distinct):
            wrong.append(f"{name}: distinct {column['distinct']} of {distinct}")
        if values.dtype.is_numeric():
            present = values.drop_nulls()
            for share, value in column["quantiles"]:
                low, high = (present < value).sum() / present.len(), (present <= value).sum() / present.len()
                if not low - 0.005 <= share <= high + 0.005:
                    wrong.append(f"{name}: quantile {share} is {value}, rank {low:.4f} to {high:.4f}")
            if abs(column["mean"] - values.mean()) > 1e-9 * max(1, abs(values.mean())):
                wrong.append(f"{name}: mean")
            if abs(column["stddev"] - values.std()) > 1e-6 * max(1, values.std()):
                wrong.append(f"{name}: stddev")
        counts = values.drop_nulls().value_counts(sort=True)
        most = counts["count"][0]
        if column["top"][0][1] > most or column["top"][0][1] + column.get("top_error", 0) < most:
            wrong.append(f"{name}: most frequent {column['top'][0]} of {most}")
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    for one in profile["associations"]:
        if one["measure"] != "pearson" or one["a"] not in numbers or one["b"] not in numbers:
            continue
        exact = frame.select(pl.corr(one["a"], one["b"])).item()
        if abs(one["value"] - exact) > 4 * (1 - exact * exact) / one["rows"] ** 0.5 + 0.03:
            wrong.append(f"{one['a']}, {one['b']}: correlation {one['value']:.3f} of {exact:.3f}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = pathlib.Path(os.environ.get("SLIPWAY_BUILD_DIR", ROOT / "build" / "release"))
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".deps" / "data" / "nycflights13")
    parser.add_argument("--slipway", type=pathlib.Path, default=build / "bin" / "slipway")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=list(MODULES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = pathlib.Path(folder) / "rows.parquet"
        page = pathlib.Path(folder) / "profile.html"
        count, _ = peer_rows.make(options.data / "flights.csv", rows, options.copies, faults=True)
        print(f"profile: 19 columns, {count:,} rows; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        profile, wall, used, peak = peer_rows.measured(
            [options.slipway, "data", "profile", rows, "--json", "--html", page], options.rounds)
        wrong = wrong_figures(profile, rows)
        lines = [("slipway", wall, used, peak, f"within bounds, page {page.stat().st_size / 1024:.0f} KiB" if not wrong else "NO")]
        for peer in options.peers:
            python = peer_rows.peers_python(VENVS[peer])
            found = subprocess.run([str(python), "-c", f"import importlib.util as u; assert u.find_spec('{MODULES[peer]}')"],
                                   check=False, capture_output=True)
            if found.returncode != 0:
                print(f"{peer} is not installed and left out (bench/requirements-profile-peers.txt)")
                continue
            rounds = options.rounds if peer in ("duckdb", "polars") else 1
            theirs, wall, peer_used, peak = peer_rows.measured([python, ROOT / "bench" / "peer_profile.py", peer, rows], rounds)
            different = [column["name"] for column in profile["columns"]
                         if (column["rows"], column["nulls"]) != (theirs[column["name"]]["rows"], theirs[column["name"]]["nulls"])]
            lines.append((peer, wall, peer_used, peak, "same rows and nulls" if not different else f"differs: {different}"))
        peer_rows.table("full profile", lines, used)
    for one in wrong:
        print(f"outside its bounds: {one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
