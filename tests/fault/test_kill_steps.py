"""kill -9 of the flights run in every one of its steps: each time it goes on where it was, and nothing is there twice."""

import random
import sqlite3
import subprocess
import time

from support.flights import EXAMPLE, slipway, slipway_json
from support.slipway_server import binary

PATIENCE_S = 120


def states(home):
    """The newest run's steps that have begun, with their states; nothing before there is a database."""
    if not (home / "slipway.db").exists():
        return {}
    with sqlite3.connect(f"file:{home}/slipway.db?mode=ro", uri=True, timeout=10) as db:
        try:
            return dict(db.execute(
                "SELECT step, state FROM step_runs WHERE started_at IS NOT NULL AND run_id = "
                "(SELECT id FROM pipeline_runs ORDER BY started_at DESC LIMIT 1)"
            ))
        except sqlite3.OperationalError:  # its tables are not there yet
            return {}


def step_names():
    lines = (EXAMPLE / "pipeline.yaml").read_text().split("\nsteps:\n")[1].splitlines()
    return [line.strip().rstrip(":") for line in lines if line.startswith("  ") and line[2] not in " #" and line.endswith(":")]


def kill_in(home, step, rng):
    """Starts the run and kills it a moment after the step began; false when the run was over before that."""
    begun = {name for name, state in states(home).items() if state in ("succeeded", "cached")}
    process = subprocess.Popen([str(binary()), "--home", str(home), "run", str(EXAMPLE / "pipeline.yaml"), "--param", "trials=1"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while process.poll() is None:
            assert time.monotonic() < deadline, f"step {step} did not begin"
            if step not in begun and states(home).get(step) == "running":
                time.sleep(rng.uniform(0, 0.05))
                break
            time.sleep(0.001)
        return process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_run_killed_in_every_step_resumes_and_makes_everything_once(tmp_path):
    home = tmp_path / "home"
    seed = random.randrange(1_000_000)
    print("seed", seed)
    rng = random.Random(seed)
    names = step_names()
    assert {"ingest", "train", "register", "deploy"} <= set(names)
    killed = [name for name in names if kill_in(home, name, rng)]
    assert len(killed) >= 4, killed  # the quickest steps may be over before the kill

    done = slipway_json(home, "run", EXAMPLE / "pipeline.yaml", "--param", "trials=1")
    assert {step["state"] for step in done["steps"]} <= {"cached", "succeeded"}
    versions = slipway_json(home, "models", "show", "late")
    assert len(versions) == 1, versions
    assert slipway_json(home, "audit", "verify")["ok"]
    assert "running" not in {run["state"] for run in slipway_json(home, "pipelines", "ls")}
    # A whole second run changes nothing.
    again = slipway_json(home, "run", EXAMPLE / "pipeline.yaml", "--param", "trials=1")
    assert {step["state"] for step in again["steps"]} == {"cached"}
    assert len(slipway_json(home, "models", "show", "late")) == 1
    assert "late" in slipway(home, "models", "card", "late")
