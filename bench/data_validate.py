#!/usr/bin/env python3
"""Sixteen rules on ten years of flights (3.37 million rows) with planted faults, by slipway and by its peers.

DuckDB by hand, polars by hand, pandera and Great Expectations run in the same call, each as a process of its own, and all
have to find the same faults. --peers chooses; those that are not installed are left out. Heavy ones:
bench/requirements-data-peers.txt, which ./dev bench installs into .deps/data-peers-venv.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import peer_rows

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULES = """
expectations:
  - {check: schema, types: {time_hour: timestamp, flight: int64, carrier: text, dep_delay: int64}, name: schema}
  - {check: row_count, min: 1000, name: rows}
  - {check: not_null, columns: [time_hour, carrier, flight, origin, dest], name: nulls}
  - {check: unique, columns: [time_hour, carrier, flight, origin], name: key}
  - {check: in_set, column: origin, values: [EWR, JFK, LGA], name: origin}
  - {check: matches, column: carrier, pattern: "[0-9A-Z]{2}", name: carrier}
  - {check: matches, column: tailnum, pattern: "N[0-9A-Z]+", mostly: 0.999, name: tailnum}
  - {check: range, column: distance, min: 0, max: 6000, name: distance}
  - {check: range, column: hour, min: 0, max: 23, name: hour}
  - {check: compare, column: sched_dep_time, op: "=", to: hour * 100 + minute, name: row}
  - {check: null_share, column: tailnum, max: 0.02, name: null_share}
  - {check: mean, column: air_time, min: 100, max: 200, name: mean}
  - {check: stddev, column: dep_delay, min: 1, max: 100, name: stddev}
  - {check: distinct_count, column: dest, min: 90, max: 120, name: dests}
  - {check: freshness, column: time_hour, within: 30d, name: newest}
  - {check: drift, column: distance, relation: before, measure: psi, max: 0.2, name: psi}
"""
SAME = ("schema", "rows", "nulls", "key", "origin", "carrier", "tailnum", "distance", "hour", "row", "null_share", "mean",
        "stddev", "dests", "psi")


def found_by_slipway(report):
    """The report as the peers print it."""
    found = {"rows": report["rows"]}
    for rule in report["rules"]:
        observed = rule.get("observed")
        if rule["name"] == "psi":
            observed = observed["psi"]
        if rule["name"] not in found and rule["name"] != "newest":
            found[rule["name"]] = rule["unexpected"] if observed is None else observed
    return found


def differences(ours, theirs):
    wrong = []
    for name in SAME:
        if theirs.get(name) is None:
            continue
        if abs(ours[name] - theirs[name]) > 1e-9 * max(1, abs(theirs[name])):
            wrong.append(f"{name}: {ours[name]} against {theirs[name]}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = pathlib.Path(os.environ.get("SLIPWAY_BUILD_DIR", ROOT / "build" / "release"))
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".deps" / "data" / "nycflights13")
    parser.add_argument("--slipway", type=pathlib.Path, default=build / "bin" / "slipway")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=["duckdb", "polars", "pandera", "great_expectations"])
    options = parser.parse_args()
    python = peer_rows.peers_python("data-peers-venv")
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        rows, before, rules = (pathlib.Path(folder) / name for name in ("rows.parquet", "before.parquet", "rules.yaml"))
        count, planted = peer_rows.make(options.data / "flights.csv", rows, options.copies, faults=True)
        peer_rows.make(options.data / "flights.csv", before, 1, faults=False)
        rules.write_text(RULES)
        print(f"validate: 16 rules, {count:,} rows, planted {planted}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        command = [options.slipway, "data", "validate", rows, "--expectations", rules, "--with", f"before={before}",
                   "--reference-time", "2023-01-20T00:00:00Z", "--json"]
        report, wall, used, peak = peer_rows.measured(command, options.rounds)
        ours = found_by_slipway(report)
        wrong += [f"planted {name}: {ours[name]} found of {many}" for name, many in planted.items() if ours[name] != many]
        lines = [("slipway", wall, used, peak, "planted faults found" if not wrong else "NO")]
        for peer in options.peers:
            module = subprocess.run([str(python), "-c", f"import importlib.util as u; assert u.find_spec('{peer}')"],
                                    check=False, capture_output=True)
            if module.returncode != 0:
                print(f"{peer} is not installed and left out (bench/requirements-data-peers.txt)")
                continue
            command = [python, ROOT / "bench" / "peer_validate.py", peer, rows, before]
            theirs, wall, peer_used, peak = peer_rows.measured(command, 1 if peer == "great_expectations" else options.rounds)
            different = differences(ours, theirs)
            wrong += [f"{peer}: {one}" for one in different]
            compared = sum(theirs.get(name) is not None for name in SAME)
            lines.append((peer, wall, peer_used, peak, f"{compared} figures" if not different else "NO"))
        peer_rows.table("16 rules", lines, used)
    for one in wrong:
        print(f"not the same: {one}")
    return 1 if wrong else 0




if __name__ == "__main__":
    sys.exit(main())
