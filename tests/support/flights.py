"""The flights example for tests: a home with the pipeline run on real data, and the commands as a user types them."""

import json
import os
import pathlib
import subprocess

from support.slipway_server import ROOT, binary

EXAMPLE = ROOT / "examples/flights"


def slipway(home, *args, check=True, timeout=600, env=None):
    """Runs a command; its standard output. With check=False: the finished process."""
    done = subprocess.run(
        [str(binary()), "--home", str(home), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )
    if not check:
        return done
    assert done.returncode == 0, f"{args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def slipway_json(home, *args, **kwargs):
    return json.loads(slipway(home, *args, "--json", **kwargs))


def run_flights(home, trials=2):
    return slipway_json(home, "run", EXAMPLE / "pipeline.yaml", "--param", f"trials={trials}")


REPLAY = [
    "--dataset", "flights_clean", "--id", "flight_id", "--time", "sched_dep_time_utc",
    "--label", "late", "--label-time", "label_time",
]


def replay(home, url, since, until):
    return slipway(home, "replay", "late", "--server", url, *REPLAY, "--from", since, "--until", until)


def small_pipeline(folder: pathlib.Path, steps: str, rows: str | None = None) -> pathlib.Path:
    """A pipeline file over a small CSV beside it."""
    if rows is None:
        rows = "id,day,x,kind,late\n" + "".join(
            f"r{i},2013-01-{1 + i % 28:02d},{(i * 37) % 101},{'abc'[i % 3]},{int((i * 37) % 101 > 60)}\n" for i in range(400)
        )
    (folder / "rows.csv").write_text(rows)
    file = folder / "pipeline.yaml"
    file.write_text(steps)
    return file
