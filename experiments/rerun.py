"""Run a published result's config again, in a process with the recorded BLAS settings, and compare the metrics."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from . import blas
from .plan import from_dict
from .store import THREAD_VARIABLES, StoreError, read_result

ROOT = Path(__file__).resolve().parents[1]
CHILD = """
import json, sys
from experiments import sweep
fields, results, runs, data_dir = json.load(sys.stdin)
sweep.work(fields, results, runs, data_dir)
"""


def chosen(folder, n, seed):
    """n result files below `folder`, by chance. ValueError if there are fewer, or n is none."""
    if n < 1:
        raise ValueError(f"--pick must be at least 1, got {n}")
    paths = sorted(Path(folder).rglob("*.json"))
    if len(paths) < n:
        raise ValueError(f"{folder} holds {len(paths)} results, {n} were asked for")
    return random.Random(seed).sample(paths, n)


def differences(before, after, at=""):
    """[(name, value before, value after)] of every number that differs between two nested dicts of metrics."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(set(before) | set(after))
        return [d for name in names for d in differences(before.get(name), after.get(name), f"{at}.{name}".strip("."))]
    return [] if before == after else [(at, before, after)]


def environment_of(provenance):
    """This process's environment with the BLAS settings that a result records, as far as this CPU can run them."""
    recorded = dict(provenance.get("blas_environment", {}))
    if recorded.get("OPENBLAS_CORETYPE") not in (None, *blas.AVX2_KERNELS, *blas.choices()):
        del recorded["OPENBLAS_CORETYPE"]  # kernels for AVX-512 would end the process on a CPU without
    inherited = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    return inherited | recorded | {"PYTHONPATH": str(ROOT)}


def rerun(path, data_dir=None):
    """(result as published, result now) of one result file. RuntimeError with the child's last words if it fails,
    StoreError where the file is damaged or no result."""
    published = read_result(path)
    if "config" not in published:
        raise StoreError(f"{path} is no result of a run: it has no config")
    config = from_dict(published["config"])
    environment = environment_of(published["provenance"])
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        work = json.dumps([config.as_dict(), str(results), str(Path(folder) / "runs"), data_dir])
        code, words = _ended([sys.executable, "-c", CHILD], work, environment)
        if code != 0:
            last = (words.strip().splitlines() or [f"its process ended with {code} and no word"])[-1]
            raise RuntimeError(f"{config.id} failed: {last}")
        return published, read_result(results / f"{config.id}.json")


def _ended(command, text, environment):
    """(exit code, standard error) of a child that is given text; it ends with us, by SIGTERM too."""

    def stop(number, frame):
        raise SystemExit(128 + number)

    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    before = signal.signal(signal.SIGTERM, stop) if threading.current_thread() is threading.main_thread() else None
    try:
        with subprocess.Popen(command, env=environment, text=True, **pipes) as child:
            try:
                _, words = child.communicate(text)
            except BaseException:
                child.kill()
                raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return child.returncode, words


def parameters(result):
    """What a result says of its trained parameters: their hash, or (approximations) their values."""
    return result.get("parameters_sha256") or result.get("parameters")
