"""Versions of a dataset of a gigabyte: what it costs to make one, and to append one per cent.

    python bench/data_versions.py [--rows N]

The file is made here by a fixed seed and written by pyarrow in row groups of 122,880 rows. Measured are reading it once
through SHA-256, `slipway data add`, and `slipway data add` of the same rows with one per cent more behind them. The files of
the second version are read back by pyarrow and compared. Exits 1 when more than three per cent of the bytes are new.
"""

import argparse
import hashlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent
GROUP = 122_880


def rows_of(begin, end):
    """Rows begin..end, the same whatever else is asked for."""
    batches = []
    for group in range(begin // GROUP, (end + GROUP - 1) // GROUP):
        random = np.random.default_rng([2013, group])
        numbers = {f"x{i}": random.normal(size=GROUP) for i in range(6)}
        counts = {f"n{i}": random.integers(0, 10_000, GROUP) for i in range(3)}
        names = pa.array(np.array([f"k{i}" for i in range(500)])[random.integers(0, 500, GROUP)])
        table = pa.table({"id": np.arange(group * GROUP, (group + 1) * GROUP), **numbers, **counts, "name": names})
        batches.append(table.slice(0, min(GROUP, end - group * GROUP)))
    return batches


def write(path, count):
    batches = rows_of(0, count)
    with pq.ParquetWriter(path, batches[0].schema, compression="zstd", use_dictionary=["name"]) as writer:
        for batch in batches:
            writer.write_table(batch, row_group_size=GROUP)


def timed(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout), wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def hash_once(path):
    start, cpu = time.perf_counter(), time.process_time()
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - start, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = pathlib.Path(os.environ.get("SLIPWAY_BUILD_DIR", ROOT / "build" / "release"))
    parser.add_argument("--slipway", type=pathlib.Path, default=build / "bin" / "slipway")
    parser.add_argument("--rows", type=int, default=15_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        program = [options.slipway, "--home", folder / "home", "data"]
        small, large = folder / "small.parquet", folder / "large.parquet"
        write(small, options.rows)
        write(large, options.rows + options.rows // 100)
        size = small.stat().st_size
        hash_wall, hash_cpu = hash_once(small)
        _, first_wall, first_cpu = timed([*program, "add", "rows", small, "--json"])
        second, second_wall, second_cpu = timed([*program, "add", "rows", large, "--json"])
        large_wall, large_cpu = hash_once(large)
        subprocess.run([*map(str, program), "checkout", "rows", str(folder / "out")], check=True, capture_output=True)
        parts = sorted((folder / "out").glob("*.parquet"))
        back = pa.concat_tables([pq.read_table(part) for part in parts])
        same = back.equals(pq.read_table(large))
    share = second["new_bytes"] / size
    print(f"versions: {size / 2**30:.2f} GiB of Parquet, {options.rows:,} rows, load {os.getloadavg()[0]:.1f}")
    print(f"{'':34}{'wall s':>9}{'CPU s':>9}{'of hashing once':>17}")
    print(f"{'SHA-256 of the file':34}{hash_wall:9.2f}{hash_cpu:9.2f}")
    print(f"{'first version':34}{first_wall:9.2f}{first_cpu:9.2f}{first_wall / hash_wall:16.2f}x")
    print(f"{'version with 1 % appended':34}{second_wall:9.2f}{second_cpu:9.2f}{second_wall / large_wall:16.2f}x")
    print(f"new bytes of the second version: {second['new_bytes']:,} ({share:.2%})")
    print("pyarrow reads the same rows from the checked-out files" if same else "the checked-out rows differ")
    return 0 if same and share < 0.03 else 1


if __name__ == "__main__":
    sys.exit(main())
