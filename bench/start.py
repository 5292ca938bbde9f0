"""How quickly a server is ready, and how much memory it takes when nothing happens: an empty home, and one with a model.

    python bench/start.py [--rounds N]

Ready is the first 200 of /health, asked every millisecond. The memory is the resident set of the one process a second
after that; MLflow's own server is measured beside it by bench/tracking.py.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from support.flights import run_flights  # noqa: E402
from support.slipway_server import SlipwayServer  # noqa: E402


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


class Server(SlipwayServer):
    poll_s = 0.001


def measure(home, rounds):
    ready, memory = [], []
    for _ in range(rounds):
        server = Server(home)
        begun = time.perf_counter()
        server.start()
        ready.append(time.perf_counter() - begun)
        time.sleep(1)
        memory.append(resident_mib(server.process.pid))
        server.stop()
    return sorted(ready)[rounds // 2], sorted(memory)[rounds // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores; medians of {options.rounds} starts")
    with tempfile.TemporaryDirectory() as folder:
        empty = pathlib.Path(folder) / "empty"
        flights = pathlib.Path(folder) / "flights"
        run_flights(flights, trials=1)
        for name, home in (("empty home", empty), ("flights model deployed", flights)):
            ready_s, idle_mib = measure(home, options.rounds)
            print(f"{name:<26} ready after {ready_s * 1000:6.0f} ms   idle {idle_mib:6.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
