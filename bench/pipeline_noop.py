#!/usr/bin/env python3
"""What the pipeline engine costs: a graph of 200 steps that do nothing, 10 wide and 20 deep, each step a process.

Runs `slipway run` and GNU make -j2 on the same graph, in turn, in fresh folders:
  full     nothing was done before
  cached   the same command again
  resumed  the same command after kill -9 at half of the steps
and checks that no step that was finished ran twice. Prints the medians and the ratios.

    bench/pipeline_noop.py [--slipway build/release/bin/slipway] [--rounds 5] [--json]
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

WIDE = 10
DEEP = 20
STEPS = WIDE * DEEP


def names():
    return [f"s{level}_{i}" for level in range(DEEP) for i in range(WIDE)]


def needs(name):
    level, _ = map(int, name[1:].split("_"))
    return [f"s{level - 1}_{i}" for i in range(WIDE)] if level else []


def write_pipeline(folder):
    """Each step notes its start, by the shell alone, so that doubles are seen."""
    lines = ["name: noop", "steps:"]
    for name in names():
        lines.append(f"  {name}: {{command: \"echo {name} >> started\", needs: [{', '.join(needs(name))}]}}")
    (folder / "pipeline.yaml").write_text("\n".join(lines) + "\n")


def write_makefile(folder):
    lines = ["all: " + " ".join(names()[-WIDE:])]
    for name in names():
        lines += [f"{name}: {' '.join(needs(name))}", f"\t@echo {name} >> started; : > $@"]
    (folder / "Makefile").write_text("\n".join(lines) + "\n")


def started(folder):
    file = folder / "started"
    return file.read_text().split() if file.exists() else []


class Tool:
    def __init__(self, name, write, command):
        self.name, self.write, self.command = name, write, command

    def start(self, folder):
        return subprocess.Popen(self.command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                start_new_session=True)

    def seconds(self, folder):
        begun = time.perf_counter()
        process = self.start(folder)
        _, errors = process.communicate()
        took = time.perf_counter() - begun
        if process.returncode != 0:
            sys.exit(f"{self.name} failed with {process.returncode}: {errors.decode()[-2000:]}")
        return took

    def round(self, parent):
        """Seconds of a full, a cached and a resumed run, and how many steps ran twice in the last."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=parent))
        self.write(folder)
        full = self.seconds(folder)
        assert sorted(started(folder)) == sorted(names()), f"{self.name}: not every step ran once"
        cached = self.seconds(folder)
        assert len(started(folder)) == STEPS, f"{self.name}: a cached run ran steps"
        shutil.rmtree(folder)

        folder.mkdir()
        self.write(folder)
        process = self.start(folder)
        while len(started(folder)) < STEPS // 2 and process.poll() is None:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        resumed = self.seconds(folder)
        twice = len(started(folder)) - STEPS
        shutil.rmtree(folder)
        return full, cached, resumed, twice


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--slipway", default=str(root / "build/release/bin/slipway"))
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true")
    options = options.parse_args()
    slipway = str(pathlib.Path(options.slipway).resolve())
    tools = [
        Tool("make", write_makefile, ["make", "-s", "-j2"]),
        Tool("slipway", write_pipeline, [slipway, "run", "--home", "home", "pipeline.yaml"]),
    ]
    results = {tool.name: [] for tool in tools}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as parent:
        for _ in range(options.rounds):
            for tool in tools:
                results[tool.name].append(tool.round(parent))

    medians = {name: [statistics.median(column) for column in zip(*rounds)] for name, rounds in results.items()}
    bars = [3 * seconds + STEPS * 0.001 for seconds in medians["make"][:3]]
    if options.json:
        print(json.dumps({"cores": os.cpu_count(), "steps": STEPS, "seconds": medians, "bars": bars}))
        return
    print(f"{STEPS} steps, {WIDE} wide, {DEEP} deep; {os.cpu_count()} cores; medians of {options.rounds} rounds; seconds")
    print(f"{'':10}{'make -j2':>10}{'slipway':>10}{'ratio':>8}{'bar: 3x + 1 ms a step':>24}")
    for i, what in enumerate(("full", "cached", "resumed")):
        theirs, ours = medians["make"][i], medians["slipway"][i]
        ratio = f"{ours / theirs:.1f}" if theirs > 0.005 else "-"
        print(f"{what:10}{theirs:>10.3f}{ours:>10.3f}{ratio:>8}{bars[i]:>19.3f} {'met' if ours <= bars[i] else 'NOT'}")
    print(f"steps run twice after kill -9 (those in hand): make {medians['make'][3]:.0f}, slipway {medians['slipway'][3]:.0f}")


if __name__ == "__main__":
    main()
