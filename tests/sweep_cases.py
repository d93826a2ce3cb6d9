"""Small sweeps for the tests of faults: their configs, a script that runs one and can be killed, what must come out."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy

from experiments import plan, store, sweep

ROOT = Path(__file__).resolve().parents[1]
SMALL = plan.RunConfig(model="gs", epochs=2, n_variables=3, n_categories=3, m=5, learning_rate=1e-3, monitor_every=0,
                       training_images=0)  # fmt: skip
FIT = plan.ApproximationConfig(target="binomial", model="gs", n_categories=13, temperature=0.1, samples=50, steps=20)

STARTED = []  # process groups
# Spawned workers import the script too, so they checkpoint as often. It tells its workers' numbers through a file.
SCRIPT = """
import os, signal, sys, threading, time
from pathlib import Path
from experiments import plan, store, sweep, train

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
train.run.__defaults__ = (*train.run.__defaults__[:-1], CHECKPOINT_SECONDS)

def tell(executor):
    while True:
        Path("pids.new").write_text(" ".join(map(str, executor.pids())))
        os.replace("pids.new", "pids")
        time.sleep(0.03)

def make():
    executor = sweep.local_executor(2)
    threading.Thread(target=tell, args=(executor,), daemon=True).start()
    return executor

if __name__ == "__main__":
    configs = [plan.from_dict(fields) for fields in store.read_json(sys.argv[1])]
    try:
        failed = sweep.execute(configs, sys.argv[2], sys.argv[3], make)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(bool(failed))
"""


def end_all():
    """Kill whatever is left of the sweeps that were started: a failed test must not leave one running."""
    while STARTED:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(STARTED.pop(), signal.SIGKILL)


def tiny_images(folder):
    """The path of a data set so small that a run takes hardly any time."""
    rng = numpy.random.default_rng(0)
    arrays = {name: rng.integers(0, 2, (n, 16), dtype=numpy.uint8) for name, n in (("train", 240), ("test", 12))}
    folder.mkdir(parents=True, exist_ok=True)
    numpy.savez(folder / "tiny.npz", **arrays)
    return str(folder / "tiny.npz")


def forty(folder, long=10, epochs=120):
    """Forty runs: four fits, short trainings, and `long` ones that can be killed between two checkpoints."""
    base = dataclasses.replace(SMALL, dataset=tiny_images(folder))
    runs = [dataclasses.replace(base, seed=s, epochs=2 if s < 36 - long else epochs) for s in range(36)]
    return [dataclasses.replace(FIT, seed=s) for s in range(4)] + runs


def inline():
    """An executor in this very process."""
    return concurrent.futures.ThreadPoolExecutor(1)


def unbroken(configs, folder):
    """The metrics of a sweep in this process that nothing disturbs."""
    assert sweep.execute(configs, folder / "results", folder / "runs", inline, say=lambda text: None) == {}
    return metrics(folder / "results")


def metrics(results):
    """What must be the same, byte for byte, whatever happened on the way: all but times and the machine's facts."""
    return {
        path.name: json.dumps({k: v for k, v in store.read_result(path).items() if k not in ("seconds", "provenance")})
        for path in sorted(Path(results).glob("*.json"))
    }


class Sweep:
    """The script on some configs; start it as often as you kill it."""

    def __init__(self, configs, folder, checkpoint_seconds=0.05):
        self.folder, self.results, self.runs = folder, folder / "results", folder / "runs"
        store.write_json(folder / "configs.json", [c.as_dict() for c in configs])
        (folder / "script.py").write_text(SCRIPT.replace("CHECKPOINT_SECONDS", str(checkpoint_seconds)))
        self.said = folder / "said.txt"

    def start(self):
        (self.folder / "pids").write_text("")
        command = [sys.executable, "script.py", "configs.json", "results", "runs"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        with open(self.said, "ab") as file:
            parent = subprocess.Popen(command, cwd=self.folder, env=environment, stderr=file, start_new_session=True)
        STARTED.append(parent.pid)  # of its whole session, workers included
        return parent

    def workers(self):
        return [int(pid) for pid in (self.folder / "pids").read_text().split()]

    def progress(self):
        """A number that grows with every checkpoint and every result."""
        files = (*self.runs.glob("*/checkpoint.npz"), *self.results.glob("*.json"))
        return max((_time(path) for path in files), default=0)

    def orphans(self, seconds=15.0):
        """The runs that some process is still at, `seconds` from now at the latest."""
        deadline = time.monotonic() + seconds
        while True:
            held = [path.name for path in self.runs.glob("*/") if sweep.is_held(path)]
            if not held or time.monotonic() > deadline:
                return held
            time.sleep(0.05)


def _time(path):
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # finished and removed since it was listed
        return 0


def wait_for(condition, seconds=60.0):
    """Whether `condition()` came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True
