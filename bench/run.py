#!/usr/bin/env python3
"""Runs the benchmarks, each beside its peer in the same call: all of them, or those whose name contains the argument.

    bench/run.py            # bench/*.py, one after the other
    bench/run.py pipeline   # bench/pipeline_noop.py
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def is_benchmark(path: pathlib.Path) -> bool:
    return path.name != "run.py" and not path.name.startswith("peer_")  # peer_*.py: what they share


def main() -> int:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    scripts = [p for p in sorted(HERE.glob("*.py")) if is_benchmark(p) and wanted in p.stem]
    if not scripts:
        names = ", ".join(p.stem for p in sorted(HERE.glob("*.py")) if is_benchmark(p))
        print(f"no benchmark's name contains '{wanted}'; there are {names}", file=sys.stderr)
        return 2
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    failed = []
    for script in scripts:
        print(f"\n== {script.stem}", flush=True)
        if subprocess.run([sys.executable, str(script)], check=False).returncode != 0:
            failed.append(script.stem)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
