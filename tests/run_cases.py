"""What tests of single runs and of groups of replicas share: quick priors, and runs that are stopped or killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy

from experiments import fitted_prior, plan, stopping

ROOT = Path(__file__).resolve().parents[1]
SMALL = plan.RunConfig(epochs=2, n_variables=4, n_categories=3, m=20, law="simulated", law_draws=50,
                       learning_rate=1e-3, training_images=50)  # fmt: skip


def quick_priors(monkeypatch, folder):
    """A cache of its own in `folder`, and priors for K = 3 at once, so that no test waits for eq. 14."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    fits = {"igr_i_prior": (-0.6, -0.1), "igr_sb_prior": (numpy.array([-1.0, -0.5]), numpy.array([0.1, 0.2]))}
    for name, value in fits.items():
        monkeypatch.setattr(fitted_prior.prior, name, lambda k, value=value: value)


def stopping_after(looks):
    """StopRequests that ask a run to stop when it has looked for a request so many times."""

    class StopSoon(stopping.StopRequests):
        def __enter__(self):
            self.left = looks
            return self

        @property
        def requested(self):
            self.left -= 1
            return self.left <= 0

        @requested.setter
        def requested(self, value):
            pass

    return StopSoon


def again_and_again(run):
    """(what run() returns in the end, how often it was interrupted before)."""
    stops = 0
    while True:
        try:
            return run(), stops
        except stopping.Interrupted:
            stops += 1


def killed_at_random(script, arguments, checkpoint, kills, starts):
    """Run a Python script again and again until it ends well: how often it was killed, `kills` times at most.

    A SIGKILL comes up to 50 ms after a start has got to a checkpoint of its own.
    """
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    moments, killed = random.Random(0), 0
    for _ in range(starts):
        child = subprocess.Popen(command, cwd=ROOT, env=environment)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        while child.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.002)
        if killed < kills:
            time.sleep(moments.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
        code = child.wait()
        if code == 0:
            return killed
        assert code == -signal.SIGKILL, f"it ended with exit code {code}"
        killed += 1
    raise AssertionError(f"it did not end in {starts} starts")
